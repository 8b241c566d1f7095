"Everything, for `from maca_net.all import *`. Written by hand: nbdev would give it an empty `__all__`."
from fastai.vision.all import *
from maca_net.core import *
from maca_net.synth import *
from maca_net.datasets import *
from maca_net.metrics import *
from maca_net.presets import *
from maca_net.data import *
from maca_net.models import *
from maca_net.losses import *
from maca_net.callbacks import *
from maca_net.learner import *
from maca_net.checkpoint import *
from maca_net.interpret import *
from maca_net.runs import *
from maca_net.experiments import *
from maca_net.export import *
from maca_net.inference import *
