"The four walks of CONTRIBUTING.md, from outside of the package to the end: the code of that page is what runs here."
import json, os, re, shutil, sys
from pathlib import Path
import forked, pandas as pd, pytest
from PIL import Image
from maca_net.data.draw import draw_scene, synth_faces

ROOT,BIN = Path(__file__).parent.parent,Path(sys.executable).parent
PLUGINS = 'two_pools,colour_files,two_pools_experiment'

def blocks(language):
    "The code blocks of CONTRIBUTING.md in a language, in order"
    return re.findall(rf'^```{language}\n(.*?)^```$', (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8'), re.M|re.S)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "What a contributor has after typing in the page: modules, a report notebook, pictures"
    d = tmp_path_factory.mktemp('walks')
    for code in blocks('python'):
        name = re.match(r'# (\S+\.\w+)\n', code)
        if name and name[1].endswith('.py'): (d/name[1]).write_text(code)
        elif name:
            cell = dict(cell_type='code', id='a', execution_count=None, metadata={}, outputs=[], source=code)
            kernel = dict(name='python3', display_name='python3', language='python')
            nb = dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
            (d/'reports').mkdir()
            (d/'reports'/name[1]).write_text(json.dumps(nb))
    images,df = synth_faces(96, size=48, seed=3)
    (d/'faces').mkdir()
    for i,(im,label) in enumerate(zip(images, df.label)): Image.fromarray(im).save(d/'faces'/f'{label}-{i:04}.png')
    return d

def run(folder, *args):
    path = os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')])
    env = {**os.environ, 'MPLBACKEND': 'Agg', 'MACA_PLUGINS': PLUGINS, 'PYTHONPATH': path}
    r = forked.run(*args, cwd=folder, env=env)
    assert r.returncode==0, r.stdout + r.stderr
    return r

def commands(which):
    "The commands of the page that hold a word, as written there"
    lines = [l for b in blocks('bash') for l in b.splitlines() if re.search(which, l)]
    assert lines, f'CONTRIBUTING.md has no command with {which}'
    return lines

def shell(folder, which):
    "Run these commands, each in a process of its own"
    def on_cpu(command): return ['--device', 'cpu'] if command in ('maca_train', 'maca_eval') else []
    return [run(folder, BIN/command, *opts, *on_cpu(command)) for command,*opts in map(str.split, commands(which))]

def python(folder, code): return run(folder, sys.executable, '-W', 'ignore', '-c', code)

def test_loss_term(folder):
    "Walk 1: the term trains, is a column, and is drawn"
    use = next(b for b in blocks('python') if not b.startswith('# '))
    r = run(folder, sys.executable, '-W', 'ignore', '-c', 'from loss_term import *\n' + use + '''
names = list(learn.recorder.metric_names)
assert 'length' in names, names
assert learn.recorder.values[-1][names.index('length')-1]>0
history = pd.DataFrame(list(learn.recorder.values), columns=names[1:-1]).assign(epoch=[1, 2])
drawn = [l.get_label() for l in plot_curves(history).axes[1].get_lines()]
print('DRAWN', drawn)''')
    assert 'LENGTH (train)' in r.stdout.split('DRAWN')[1]

@pytest.fixture(scope='module')
def method_run(folder):
    shell(folder, 'maca_train --method two_pools')
    return folder/'runs'/'two_pools'

def test_method_trains_and_is_scored(folder, method_run):
    "Walk 2: the term's column is in the history, the run is read back and exported"
    history,metrics = pd.read_csv(method_run/'history.csv'),json.loads((method_run/'metrics.json').read_text())
    assert history.length.gt(0).all() and metrics['method']=='two_pools' and 'length' in metrics['terms']
    scored,exported = shell(folder, 'maca_(eval|export) runs/two_pools')
    assert f"{100*metrics['accuracy']:.2f}" in scored.stdout
    assert (method_run/'two_pools.onnx').is_file() and 'two_pools.onnx' in exported.stdout

def test_method_predicts_and_has_a_page(folder, method_run):
    faces,_ = synth_faces(2, size=128, seed=1, occlusion=0.)
    draw_scene(*faces).save(folder/'scene.png')
    r = run(folder, BIN/'maca_predict', 'scene.png', '--model', method_run, '--json', '--device', 'cpu')
    found, = json.loads(r.stdout)
    assert len(found['faces'])==2 and all(abs(sum(f['probabilities'].values())-1)<1e-3 for f in found['faces'])
    page = f"from maca_net.deploy.app import build_app\nassert build_app({str(method_run)!r}, 'cpu')"
    python(folder, page + '''
from maca_net.cli.base import command_output
from maca_net.cli.train import maca_train
assert 'two_pools' in command_output(maca_train, '--help')[1]''')

def test_data_set(folder):
    "Walk 3: a data set from outside trains, has its licence in the model card, is exported and predicted"
    shell(folder, 'maca_train --data colour_files')
    info = json.loads((folder/'runs'/'colour_files'/'config.json').read_text())
    assert info['config']['data']=='colour_files' and len(info['labels'])==8
    later = commands('maca_export runs/colour_files') + commands('maca_predict faces')
    r = python(folder, f"""
from maca_net.cli.export import maca_export
from maca_net.cli.predict import maca_predict
from maca_net.deploy.hub import HubRun
print(HubRun.from_run('runs/colour_files', 'cpu').generate_model_card())
for command,*opts in {[l.split() for l in later]}: globals()[command](opts)""")
    assert 'Drawn faces, for a test.' in r.stdout
    assert 'colour_files.safetensors' in r.stdout
    faces = pd.read_csv(folder/'faces.csv')
    assert len(faces)==96 and set(faces.label)<=set(info['labels'])

def test_report(folder):
    "Walks 3 and 4: method and data set in an experiment, stored with the term's column, and reported on two pages"
    shutil.copy(ROOT/'nbs'/'paper.others.ipynb', folder/'reports')
    lines = [l.split()[1:] for l in commands('maca_lab (run|report)')]
    reported = python(folder, f"""
import maca_net.cli.lab as lab
machine = lab._machine
lab._machine = lambda *args: dict(machine(*args), workers=0)          # in this process, whose imports took seconds
for args in {lines}: lab.maca_lab(args)""")
    rows = [json.loads(f.read_text()) for f in (folder/'results'/'pools'/'rows').glob('*.json')]
    assert len(rows)==2 and {r['data'] for r in rows}=={'colour_files'}
    assert [len(r['history']['length']) for r in rows if 'two_pools' in r['key']]==[1]
    index,others,own = [Path(l) for l in reported.stdout.split() if l.endswith('.html')]
    assert 'two pools' in own.read_text()
    page = others.read_text()                      # the package's, for an experiment that it knows nothing of
    for part in ('one pool or two', 'colour_files: resnet18, 48 px', 'two pools minus baseline'):
        assert part in page, part
    assert page.count('src="data:image/png;base64')==2                                 # the cells, the learning curves
    assert [re.findall('href="(.*?)"', index.read_text())]==[[others.name, own.name]]
    assert 'IPKernelApp' not in reported.stderr
