from zoo.methods.first_order_motion_model.module import FirstOrderMotionModel

__all__ = ["FirstOrderMotionModel"]
