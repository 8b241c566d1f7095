"The notebooks as a whole: one order of imports, short cells, short lines, a last cell that exports."
import ast, json, re, statistics
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
LONGEST,MEDIAN,WIDTH = 60,12,120          # lines of an exported cell; their median; characters of a line

def code_cells(notebook):
    "(number, source) of the code cells of a notebook"
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return [(i, ''.join(c['source'])) for i,c in enumerate(cells) if c['cell_type']=='code']

def module_notebooks():
    "Notebook -> module that it exports, such as 'models.heads', in the order of their numbers"
    found = {}
    for f in sorted((ROOT/'nbs').glob('*.ipynb')):
        for _,source in code_cells(f):
            if m := re.search(r'^#\| ?default_exp (\S+)', source, re.M): found[f] = m[1]
    return found

NOTEBOOKS = module_notebooks()
def number_of(notebook): return re.match(r'\d\d[a-z]?', notebook.name)[0]            # such as '49', or '49b' behind it
NUMBER = {module: number_of(f) for f,module in NOTEBOOKS.items()}

def is_exported(source): return bool(re.search(r'^#\| ?exports?$', source, re.M))

def parsed(source):
    "The syntax tree of a cell, without the lines that only IPython understands"
    return ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', source, flags=re.M))

def imported_by(node):
    "The modules that a node of a syntax tree imports by itself"
    if isinstance(node, ast.Import): return {a.name for a in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {node.module} | {f'{node.module}.{a.name}' for a in node.names}
    called = getattr(node.func, 'attr', getattr(node.func, 'id', '')) if isinstance(node, ast.Call) else ''
    if called in ('import_module', '__import__'): return {a.value for a in node.args if isinstance(a, ast.Constant)}
    return set()

def own_modules(names): return {o.removeprefix('maca_net.') for o in names if o.startswith('maca_net.')}

def too_high(notebook, source):
    "What a cell imports from its own or a higher number; a program that it starts may import the notebook's own module"
    nodes,number = list(ast.walk(parsed(source))),number_of(notebook)
    texts = [o.value for o in nodes if isinstance(o, ast.Constant) and isinstance(o.value, str)]
    started = own_modules(m for t in texts for m in re.findall(r'(?:from|import) (maca_net[\w.]*)', t))
    imported = own_modules(set().union(*map(imported_by, nodes)))
    return sorted({m for m in imported if m=='all' or NUMBER.get(m, '')>=number}
                  | {m for m in started if m=='all' or NUMBER.get(m, '')>number})

def test_there_are_notebooks(): assert len(NOTEBOOKS)>50 and len(NUMBER)==len(NOTEBOOKS)

def test_no_number_stands_twice(): assert len(set(NUMBER.values()))==len(NOTEBOOKS)

@pytest.mark.parametrize('source,found', [
    ('from maca_net.runs.train import *', ['runs.train']),
    ('import maca_net.runs.train as t', ['runs.train']),
    ('from maca_net.runs import train', ['runs.train']),
    ('#| hide\nfrom maca_net.runs.train import *', ['runs.train']),
    ('def f():\n    from maca_net.runs.train import train_run', ['runs.train']),
    ('importlib.import_module("maca_net.runs.train")', ['runs.train']),
    ('run([python, "-c", "from maca_net.runs.train import *"])', ['runs.train']),
    ('from maca_net.all import *', ['all']),
    ('from maca_net.core import *', []),
    ('%time x = 1\nfrom maca_net.core import *', [])])
def test_an_import_from_above_is_found(source, found):
    "What the next test looks for, wherever an import may hide"
    assert too_high(Path('20_x.ipynb'), source)==found

@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda f: f.stem)
def test_imports_come_from_lower_numbers(notebook):
    "Also in hidden cells, in tests and inside functions: the notebooks can be read from the first to the last"
    wrong = {i: too_high(notebook, s) for i,s in code_cells(notebook)}
    assert not (wrong := {i: o for i,o in wrong.items() if o}), wrong

def code_lines(source): return [l for l in source.strip().splitlines() if not l.startswith('#|')]

def exported_lengths():
    "(notebook, number of the cell) -> lines of code of each exported cell, without its directives"
    return {(f.name, i): len(code_lines(s)) for f in NOTEBOOKS for i,s in code_cells(f) if is_exported(s)}

def test_exported_cells_are_short():
    lengths = exported_lengths()
    assert not (long := {k: n for k,n in lengths.items() if n>LONGEST}), long
    assert statistics.median(lengths.values())<=MEDIAN

def written_lines(file):
    "(number, line) of a module, without the list `__all__`, whose width nbdev decides"
    lines = file.read_text(encoding='utf-8').splitlines()
    a = lines.index('# %% auto #0') if '# %% auto #0' in lines else len(lines)
    b = next((i for i in range(a+1, len(lines)) if lines[i].startswith('# %%')), len(lines))
    return [(i, l) for i,l in enumerate(lines, 1) if not a<i-1<b]

def test_lines_are_short():
    files = [f for f in (ROOT/'maca_net').rglob('*.py') if f.name!='_modidx.py']
    assert len(files)>len(NOTEBOOKS)
    long = {}
    for f in files:
        for i,line in written_lines(f):
            if len(line)>WIDTH: long[f'{f.relative_to(ROOT)}:{i}'] = len(line)
    assert not long, long

def test_lines_of_cells_are_short():
    "Of tests, demonstrations and reports too, which no module holds"
    long = {f'{f.name}, cell {i}': l for f in sorted((ROOT/'nbs').glob('*.ipynb')) for i,source in code_cells(f)
        for l in source.splitlines() if len(l)>WIDTH}
    assert not long, long

def test_notebooks_export_themselves():
    "The last cell of a module notebook, which nbdev-test leaves out, can be run in Jupyter"
    last = '#| hide\nimport nbdev; nbdev.nbdev_export()'
    for f in NOTEBOOKS: assert code_cells(f)[-1][1].endswith(last[8:]), f'{f.name} has to end with the cell\n{last}'
    assert callable(pytest.importorskip('nbdev').nbdev_export)

def test_no_two_modules_export_one_name():
    "Of two names that are alike, `from maca_net.all import *` would give the last"
    homes = {}
    for f in (ROOT/'maca_net').rglob('*.py'):
        listed = re.search(r'^__all__ = (\[.*?\])', f.read_text(encoding='utf-8'), re.M|re.S)
        for name in ast.literal_eval(listed[1]) if listed else []: homes.setdefault(name, []).append(f.stem)
    assert not (twice := {name: found for name,found in homes.items() if len(found)>1}), twice

def test_no_notebook_is_skipped():
    "A notebook with `skip_exec` counts as passed and is never run"
    for f in NOTEBOOKS:
        assert 'skip_exec' not in f.read_text(encoding='utf-8'), f.name

def names_in(node, names):
    "Which of the names a node lists: in a literal, a signature, or a call that hands them on. A number is a setting"
    def handed(o): return getattr(o, 'id', getattr(o, 'attr', None))
    found = []
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)): found = [getattr(o, 'value', None) for o in node.elts]
    if isinstance(node, ast.Dict): found = [getattr(o, 'value', None) for o in node.keys]
    if isinstance(node, ast.arguments): found = [a.arg for a in node.args + node.kwonlyargs]
    if isinstance(node, ast.Call):
        numbers = [k for k in node.keywords if isinstance(getattr(k.value, 'value', None), (int, float))]
        found = [k.arg for k in node.keywords if k not in numbers] + [handed(o) for o in node.args]
    return [o for o in found if isinstance(o, str) and o in names]

@pytest.mark.parametrize('source,n', [
    ("('n_heads', 'afc_weight')", 2), ("{'n_heads': 'h', 'afc_weight': 'a'}", 2),
    ("dict(n_heads='h', mi_weight='u')", 2), ('def f(x, afc_weight=None, *, mi_weight=None): pass', 2),
    ('f(cfg.n_heads, cfg.afc_weight)', 2), ('f(n_heads=n_heads, afc_weight=afc_weight)', 2),
    ('Readings(n_heads=0, afc_weight=0.)', 0), ("('n_heads', 'x')", 1)])
def test_a_list_is_found(source, n):
    "What the next test looks for"
    names = ('n_heads', 'afc_weight', 'mi_weight')
    assert max(len(names_in(o, names)) for o in ast.walk(ast.parse(source)))==n

def test_options_of_methods_are_listed_once():
    "`READING_OPTIONS` says which readings have an option: no other module lists two of them"
    from dataclasses import fields
    from maca_net.models.readings import READING_OPTIONS, Readings
    from maca_net.runs.config import METHOD_OPTIONS, RunConfig
    for cls in (Readings, RunConfig): assert {f.name for f in fields(cls)}>=set(READING_OPTIONS), cls
    assert set(METHOD_OPTIONS)>set(READING_OPTIONS)
    lists = []
    for f in (ROOT/'maca_net').rglob('*.py'):
        if f==ROOT/'maca_net'/'models'/'readings.py': continue
        for node in ast.walk(ast.parse(f.read_text(encoding='utf-8'))):
            if len(found := names_in(node, READING_OPTIONS))>1: lists.append((str(f.relative_to(ROOT)), found))
    assert not lists, lists

FOLDER = re.compile(r'(?<![\w.])/(?:home|Users|root|work|tmp|var)/\w[^\s"]{0,60}')

def test_kept_outputs_name_no_folder_of_a_machine():
    assert FOLDER.search('see /home/me/faces') and not FOLDER.search('results/ferplus/work/a, ../work/b')
    found = {}
    for f in (ROOT/'nbs').glob('*.ipynb'):
        for c in json.loads(f.read_text(encoding='utf-8'))['cells']:
            for o in c.get('outputs', []):
                shown = [v for k,v in o.get('data', {}).items() if k.startswith('text/')]
                text = ' '.join(''.join(v) for v in [o.get('text', ''), *shown])
                if m := FOLDER.search(text): found[f'{f.name}, cell {c["id"]}'] = m[0]
    assert not found, found

def test_notebooks_are_small():
    "A picture kept as PNG where JPEG was chosen makes a notebook of photograph-like faces three times as large"
    sizes = {f.name: f.stat().st_size for f in (ROOT/'nbs').glob('*.ipynb')}
    assert not (large := {k: v for k,v in sizes.items() if v>350_000}), large

IN_COLAB = '''#| hide
# On Colab, or wherever the package is missing: the package, with the files beside the notebooks
import importlib.util
if importlib.util.find_spec('maca_net') is None:
    !git clone -q --depth 1 {url}
    %cd maca_net/nbs
    %pip install -q "..{extras}"'''

def test_tutorials_open_in_colab():
    "The badge leads to the notebook itself; its first code cell installs the package with the extras that it needs"
    settings = (ROOT/'settings.ini').read_text(encoding='utf-8')
    url = re.search(r'^git_url = (\S+)$', settings, re.M)[1]
    known = set(re.findall(r'^(\w+)_requirements =', settings, re.M))
    tutorials = sorted((ROOT/'nbs').glob('tutorial.*.ipynb'))
    assert len(tutorials)>5
    for f in tutorials:
        text = f.read_text(encoding='utf-8')
        at = f'{url.replace("github.com", "colab.research.google.com/github")}/blob/main/nbs/{f.name}'
        assert f'[![Open in Colab](images/colab.svg)]({at})' in text, f.name
        first = code_cells(f)[0][1]
        extras = re.search(r'"\.\.(\[[\w,]+\])?"$', first)[1] or ''
        assert first==IN_COLAB.format(url=url, extras=extras), f.name
        assert set(extras.strip('[]').split(',')) - {''} <= known, f.name
        assert 'timm' in extras or 'test_efficientnet' not in text, f.name
