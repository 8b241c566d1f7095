"MACA-Net for facial expression recognition: model, losses, callbacks and honest evaluation on fastai."
import warnings
from importlib.metadata import version

__version__ = version('maca_net')

# fastai 2.8 compiles one of its layers on import, with what newer torch calls deprecated; users can do nothing about it
warnings.filterwarnings('ignore', r'`torch\.jit\.script` is deprecated', FutureWarning)
