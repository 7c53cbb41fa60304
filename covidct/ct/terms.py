"""Words of DICOM headers that decide about a file. A word that is not among them is never repeated in a message: it may
be free text about a person.
"""

MODALITIES = frozenset((
    "AR", "AS", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DMS", "DG", "DOC", "DX", "ECG",
    "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS",
    "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN",
    "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD",
    "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US",
    "VA", "XA", "XAPROTOCOL", "XC",
))  # fmt: skip
"""Defined terms of Modality (0008,0060), PS3.3 C.7.3.1.1.1, with the retired ones that archives still hold."""

NOT_THE_CHEST = frozenset((
    "HEAD", "BRAIN", "SKULL", "FACE", "ORBIT", "SINUS", "JAW", "HAND", "WRIST", "FOREARM", "ELBOW", "FINGER", "KNEE",
    "ANKLE", "FOOT", "CALF", "TOE", "EXTREMITY",
))  # fmt: skip
"""Values of Body Part Examined (0018,0015), PS3.16 Annex L, with no lung in them. ABDOMEN and NECK scans may hold some,
and scanners leave such words from the protocol: those are judged by their pixels.
"""
