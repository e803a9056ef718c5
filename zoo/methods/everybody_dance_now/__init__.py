from zoo.methods.everybody_dance_now.module import EverybodyDanceNow

__all__ = ["EverybodyDanceNow"]
