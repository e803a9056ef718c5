from zoo.methods.dwnet.module import DwNet

__all__ = ["DwNet"]
