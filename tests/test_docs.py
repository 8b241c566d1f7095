"The documentation site: links, hosts, formulas and search. Pages are opened as files, in a browser without a network."
import html, json, re, shutil, sys
from pathlib import Path
from urllib.parse import unquote
import pytest
from test_app import browser_there, find, resize, wait

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'docs'))
LOADED = r'<(?:script|img|iframe|source|audio|video)\b[^>]*?\ssrc="([^"]*)"|<link\b[^>]*?\shref="([^"]*)"'
OUTSIDE = re.compile(r'(?:[a-z]+:)?//')
OPENED = 'index', 'losses', 'paper.table1'
UNSEEN = 'return [...document.images].filter(o => o.complete && !o.naturalWidth).length'
WRONG = '''return arguments[0].filter(t => { try { katex.renderToString(t, {displayMode: true}) }
    catch (e) { return true } })'''

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built once"
    pytest.importorskip('material', reason='the theme is not installed: pip install "maca_net[docs]"')
    from make_site import build
    d = tmp_path_factory.mktemp('docs')
    build(d/'site', d/'pages')
    return d/'site'

@pytest.fixture(scope='module')
def pages(site): return {f.name: f.read_text(encoding='utf-8') for f in site.glob('*.html') if f.name!='404.html'}

def code_taken_out(page): return re.sub(r'<pre\b.*?</pre>', '', page, flags=re.S)

def test_every_link_leads_somewhere(site, pages):
    "Pages, parts of pages, pictures, styles and scripts, and what the styles ask for"
    ids = {name: set(re.findall(r'\sid="([^"]+)"', page)) for name,page in pages.items()}
    broken = []
    for name,page in pages.items():
        for link in set(re.findall(r'\s(?:href|src)="([^"]*)"', code_taken_out(page))):
            if OUTSIDE.match(link) or re.match(r'(mailto|data|javascript):', link): continue
            path,_,part = html.unescape(link).partition('#')
            path,part = unquote(path).partition('?')[0] or name,unquote(part)
            if not (site/path).exists() or part and part not in ids.get(path, ()): broken.append((name, link))
    for f in site.rglob('*.css'):
        for link in re.findall(r'url\(["\']?([^)"\']+)', f.read_text(encoding='utf-8')):
            if not link.startswith('data:') and not (f.parent/link).exists(): broken.append((f.name, link))
    assert len(pages)>100 and not broken, broken

def test_nothing_is_loaded_from_elsewhere(site, pages):
    "No script, style, font or picture of another host"
    asked = {name: [a or b for a,b in re.findall(LOADED, page) if OUTSIDE.match(a or b)] for name,page in pages.items()}
    assert not (asked := {k: v for k,v in asked.items() if v}), asked
    own = [site/'assets'/'style.css', site/'assets'/'formulas.js', site/'assets'/'katex'/'katex.min.css']
    assert not [f.name for f in own if '//' in re.sub(r'^ *//.*$', '', f.read_text(encoding='utf-8'), flags=re.M)]

def test_what_the_notebooks_show_is_shown(pages):
    "Stored pictures and tables, and an entry for each exported function and class"
    from make_site import definitions_of
    from notebook_pages import read_notebook
    for f in (ROOT/'nbs').glob('*.ipynb'):
        n = read_notebook(f)
        cells = [c for c in n.cells if c['cell_type']=='code' and '#| hide' not in ''.join(c['source'])]
        data = [o.get('data', {}) for c in cells for o in c['outputs']]
        kinds = [k for o in data for k in o]
        page = pages[f'{n.name}.html']
        pictures = sum(any(k.startswith('image/') for k in o) for o in data)
        assert pictures==page.count('<div class="output picture">'), f.name
        assert kinds.count('text/html')<=page.count('<div class="output">'), f.name
        assert not (missing := [d.name for d in definitions_of(n) if f'id="{d.name}"' not in page]), (f.name, missing)
        assert 'data-later' not in page

def test_each_page_and_picture_says_what_it_shows(pages):
    "A description of its own for each page, words for each picture, and no text in place of one"
    about = {name: re.search('<meta name="description" content="([^"]*)"', p)[1] for name,p in pages.items()}
    assert len(set(about.values()))==len(about)
    for name,page in pages.items():
        assert not re.search('<div class="output[^>]*><pre>&lt;(Figure size|PIL)', page), name
        assert not re.search('<img(?![^>]*\\balt="[^"]{8,}")[^>]*>', page), name

def test_names_in_the_text_lead_to_their_own_entry():
    from make_site import Links, definitions_of, full_names
    from notebook_pages import read_notebook
    notebooks = [read_notebook(f) for f in (ROOT/'nbs').glob('*.ipynb')]
    to = Links(notebooks, None).of_code
    for code,page in {'nbs/paper.summary': 'paper.summary.md', 'nbs/findings': 'findings.md', 'findings': 'findings.md',
        'nbs/22_metrics.ipynb': 'metrics.md', 'nbs/33': 'methods.maca.md', 'maca_net.lab.pack': 'lab.pack.md',
        'afc_loss': 'losses.md#afc_loss', 'scores': 'metrics.md#scores', 'Store.rows': 'lab.store.md#rows',
        "maca_net.data.layouts.write_layout(DIR, 'rafdb')": 'data.layouts.md#write_layout', 'self.learn.rows': None,
        'Faces.note': 'data.faces.md#Faces', 'learn.fit_cosine(12, .02)': 'training.schedules.md#fit_cosine',
        'summary': None, 'cli.train.summary': 'cli.train.md#summary', 'predict': None, '.distributed': None,
        'metrics.json': None, 'nn.Linear': None}.items(): assert to(code)==page, code
    names = [name for n in notebooks for d in definitions_of(n) for name in full_names(d, n.name)]
    assert {n for n in names if names.count(n)>1}<={'TensorImage.show_results', 'TensorImage.plot_top_losses'}

def test_cards_and_readings_come_from_the_code(pages):
    from make_site import readings_page
    from maca_net.models.readings import Readings
    from maca_net.options import DATASETS
    for s in DATASETS.values():
        card = html.unescape(pages[f'data.{s.name}.html'])
        assert s.licence_id in card and f'{s.read.__module__}.{s.read.__name__}' in card and s.label_note[:40] in card
    assert '12,271' in pages['data.rafdb.html'] and '25,060' in pages['data.ferplus.html']
    assert all(f'id="{k}"' in pages['readings.html'] for k in vars(Readings()))
    text = (ROOT/'docs'/'readings.md').read_text(encoding='utf-8')
    with pytest.raises(ValueError, match='fusion'): readings_page(text.replace('### `fusion`', '### fusion'))

@pytest.fixture(scope='module')
def browser(site, tmp_path_factory):
    "Chromium that can reach no host"
    browser_there()
    from selenium import webdriver
    o = webdriver.ChromeOptions()
    o.binary_location = shutil.which('chromium') or shutil.which('google-chrome')
    for a in ('headless=new', 'no-sandbox', 'disable-gpu', 'disable-dev-shm-usage', 'no-first-run', 'disable-sync',
              'disable-background-networking', 'disable-component-update', 'allow-file-access-from-files',
              'host-resolver-rules=MAP * ~NOTFOUND', f'user-data-dir={tmp_path_factory.mktemp("chrome")}'):
        o.add_argument(f'--{a}')
    o.set_capability('goog:loggingPrefs', dict(performance='ALL'))
    b = webdriver.Chrome(o, webdriver.ChromeService(shutil.which('chromedriver')))
    yield b
    b.quit()

def asked(b):
    "The addresses that the browser has asked for since the last call"
    events = [json.loads(o['message'])['message'] for o in b.get_log('performance')]
    return [m['params']['request']['url'] for m in events if m['method']=='Network.requestWillBeSent']

@pytest.mark.parametrize('w,h', [(1280, 900), (390, 844)])
def test_pages_fit_and_formulas_are_typeset(site, browser, w, h):
    b = browser
    resize(b, w, h)
    for name in OPENED:
        b.get(f'file://{site}/{name}.html')
        wait(b, lambda: b.execute_script('return document.readyState')=='complete')
        assert b.execute_script('return document.documentElement.scrollWidth')<=w, name
        n = len(find(b, '.arithmatex'))
        assert len(find(b, '.arithmatex .katex-html'))==n and not find(b, '.katex-error'), name
        assert n>20 or name!='losses'
        assert not b.execute_script(UNSEEN), f'{name}: a picture is not shown'
    b.get(f'file://{site}/losses.html')
    fonts = b.execute_async_script('''const done = arguments[0]; document.fonts.ready.then(() => done(
        [...document.fonts].filter(f => f.status=="loaded").map(f => f.family)))''')
    assert any('KaTeX_Math' in f for f in fonts), fonts
    assert not [u for u in asked(b) if not u.startswith(('file:', 'data:', 'blob:', 'chrome'))]

def test_every_formula_is_understood(site, pages, browser):
    written = r'class="arithmatex">(.*?)</(?:div|span)>'
    found = {html.unescape(t)[2:-2] for p in pages.values() for t in re.findall(written, p, re.S)}
    browser.get(f'file://{site}/losses.html')
    wrong = browser.execute_script(WRONG, sorted(found))
    assert len(found)>150 and not wrong, wrong

def test_the_search_finds(site, browser):
    resize(browser, 1280, 900)
    browser.get(f'file://{site}/index.html')
    find(browser, '.md-search__input')[0].click()
    find(browser, '.md-search__input')[0].send_keys('AFCLoss')
    def hits(): return [o.get_attribute('href') for o in find(browser, '.md-search-result__link')]
    wait(browser, lambda: any('training.terms.html' in l and '#AFCLoss' in l for l in hits()))     # at the last letter
