"""The attributes that may stay, because a picture cannot be understood without them.

PS3.15 lists what must go; planted and misused attributes show that this is not enough: what is in neither list would
stay, whatever it holds. So it is turned round: an attribute stays only if it is named here. All are public, and what
they may hold is checked by their value representation (`covidct.data.deidentify.clean`).
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.datadict import tag_for_keyword

# PS3.3 C.7.6.3 Image Pixel, C.11 look-up tables, C.7.6.16 multi-frame, C.7.6.2 Image Plane
_PICTURE = """
SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored
HighBit PixelRepresentation PixelAspectRatio SmallestImagePixelValue LargestImagePixelValue SmallestPixelValueInSeries
LargestPixelValueInSeries PixelPaddingValue PixelPaddingRangeLimit PixelData FloatPixelData DoubleFloatPixelData
ExtendedOffsetTable ExtendedOffsetTableLengths LossyImageCompression LossyImageCompressionRatio
LossyImageCompressionMethod PixelPresentation VolumetricProperties VolumeBasedCalculationTechnique RescaleIntercept
RescaleSlope RescaleType WindowCenter WindowWidth VOILUTFunction PresentationLUTShape PixelIntensityRelationship
PixelIntensityRelationshipSign BurnedInAnnotation RecognizableVisualFeatures SyntheticData PixelSpacing
ImagerPixelSpacing NominalScannedPixelSpacing SpacingBetweenSlices SliceThickness SliceLocation ImagePositionPatient
ImageOrientationPatient ImageType FrameType InstanceNumber SeriesNumber AcquisitionNumber ImagesInAcquisition
PatientPosition Laterality ImageLaterality BodyPartExamined Modality ModalityLUTSequence VOILUTSequence LUTDescriptor
LUTData FrameIncrementPointer FrameTime
RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
AlphaPaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
BluePaletteColorLookupTableData AlphaPaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData
NumberOfTemporalPositions TemporalPositionIdentifier TemporalResolution
"""

# PS3.3 C.8.2.1 CT Image, C.8.15 Enhanced CT, and the little of MR that says how a picture came about
_ACQUISITION = """
KVP ScanOptions DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient
GantryDetectorTilt TableHeight RotationDirection ExposureTime XRayTubeCurrent Exposure ExposureInuAs ExposureInmAs
ExposureTimeInms XRayTubeCurrentInmA ExposureModulationType FilterType GeneratorPower FocalSpots RevolutionTime
SingleCollimationWidth TotalCollimationWidth TableSpeed TableFeedPerRotation SpiralPitchFactor
DataCollectionCenterPatient ReconstructionTargetCenterPatient CTDIvol EstimatedDoseSaving ReconstructionAlgorithm
AcquisitionType TubeAngle ConstantVolumeFlag FluoroscopyFlag TablePosition ReconstructionFieldOfView
ReconstructionPixelSpacing ReconstructionAngle ImageFilter CalciumScoringMassFactorPatient
CalciumScoringMassFactorDevice EnergyWeightingFactor MultienergyCTAcquisition
ScanningSequence SequenceVariant MRAcquisitionType RepetitionTime EchoTime InversionTime NumberOfAverages
ImagingFrequency EchoNumbers MagneticFieldStrength EchoTrainLength FlipAngle PercentSampling
PercentPhaseFieldOfView PixelBandwidth
"""

# PS3.3 C.7.6.16: functional groups of multi-frame objects, and references to other pictures
_SEQUENCES = """
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence
PlaneOrientationSequence PixelValueTransformationSequence FrameVOILUTSequence CTImageFrameTypeSequence
CTAcquisitionTypeSequence CTAcquisitionDetailsSequence CTTableDynamicsSequence CTPositionSequence CTGeometrySequence
CTReconstructionSequence CTExposureSequence CTXRayDetailsSequence CTAdditionalXRaySourceSequence FrameContentSequence
FrameAnatomySequence AnatomicRegionSequence FrameAcquisitionNumber InStackPositionNumber DimensionIndexValues
TemporalPositionIndex FrameLaterality DimensionOrganizationSequence DimensionIndexSequence DimensionIndexPointer
FunctionalGroupPointer DimensionOrganizationType FrameAcquisitionDuration CodeValue CodingSchemeDesignator
IrradiationEventIdentificationSequence ReferencedImageSequence SourceImageSequence ReferencedSeriesSequence
ReferencedInstanceSequence ReferencedStudySequence DerivationImageSequence ReferencedFrameNumber
"""

_UIDS = """
SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID ReferencedSOPClassUID
ReferencedSOPInstanceUID IrradiationEventUID DimensionOrganizationUID
"""

_DATES = """
StudyDate StudyTime SeriesDate SeriesTime AcquisitionDate AcquisitionTime ContentDate ContentTime
InstanceCreationDate InstanceCreationTime AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime
"""

_DESCRIPTORS = "StudyDescription SeriesDescription ProtocolName ImageComments CodeMeaning"


def _tags(keywords: str | Iterable[str]) -> frozenset[int]:
    names = keywords.split() if isinstance(keywords, str) else keywords
    return frozenset(tag for name in names if (tag := tag_for_keyword(name)) is not None)


PICTURE = _tags(_PICTURE) | _tags(_ACQUISITION) | _tags(_SEQUENCES)
"""Kept as they are where their values are what their value representation allows."""

UIDS = _tags(_UIDS)
"""Identifiers; those of instances are replaced, those of the standard stay."""

DATES = _tags(_DATES)
"""Dates and times of the examination; shifted or removed."""

DESCRIPTORS = _tags(_DESCRIPTORS)
"""Free text of which technical words stay."""

MODEL = _tags("Manufacturer ManufacturerModelName ConvolutionKernel")
"""What kind of device; not among the attributes that the basic profile protects."""

IDENTITY = _tags("DeviceSerialNumber StationName SoftwareVersions DeviceID")
"""Which device; kept by the Retain Device Identity option only."""

EMPTIED = _tags("PositionReferenceIndicator")
"""Must be there (type 2), and may be empty."""

PATIENT = _tags("PatientSex PatientAge")
"""Characteristics of the patient."""
