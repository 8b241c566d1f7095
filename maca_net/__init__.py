"MACA-Net for facial expression recognition: model, losses, callbacks and honest evaluation on fastai."
from importlib.metadata import version

__version__ = version('maca_net')
