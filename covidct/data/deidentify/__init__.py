"""De-identification of DICOM images (PS3.15 Annex E), and the hunt that checks it."""
