from zoo.methods.deep_spatial_transformation.animation import DeepSpatialAnimation
from zoo.methods.deep_spatial_transformation.denoiser import SkeletonDenoiser
from zoo.methods.deep_spatial_transformation.face import DeepSpatialFace
from zoo.methods.deep_spatial_transformation.module import DeepSpatialTransformation

__all__ = ["DeepSpatialAnimation", "DeepSpatialFace", "DeepSpatialTransformation", "SkeletonDenoiser"]
