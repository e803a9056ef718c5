from zoo.methods.pose_attentive_reassembling.module import PoseAttentiveReassembling

__all__ = ["PoseAttentiveReassembling"]
