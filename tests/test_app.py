"The page of `maca_app` in a real browser: headless Chromium, driven by Selenium, that reaches this machine alone."
import base64, csv, io, json, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path
from urllib.parse import urlsplit
from filelock import FileLock
import numpy as np, pytest
from PIL import Image

BIN = Path(sys.executable).parent
TRAIN = ('--n-faces 96 --arch resnet18 --size 48 --last-stride 1 --epochs 1 --bs 16 --lr .02 --schedule cosine '
         '--device cpu')
SHOTS = os.environ.get('MACA_SHOTS')               # a folder for the screenshots, to look at

def browser_there():
    "Chromium and its driver; as root on Debian they are installed, elsewhere it is said what is missing"
    def both(): return (shutil.which('chromium') or shutil.which('google-chrome')) and shutil.which('chromedriver')
    if not both() and hasattr(os, 'geteuid') and os.geteuid()==0 and shutil.which('apt-get'):
        env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, timeout=600)
        packages = ['chromium', 'chromium-driver']
        with FileLock(Path(tempfile.gettempdir())/'maca_net_apt.lock'):       # tests run side by side, apt-get does not
            if not both():
                subprocess.run(['apt-get', 'update', '-qq'], **quiet)
                subprocess.run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', *packages], **quiet)
    if not both(): pytest.skip('chromium and chromedriver are not here: apt-get install chromium chromium-driver')

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A run on generated faces with its figures, and the address of its page"
    browser_there()
    d = tmp_path_factory.mktemp('app')
    run,env = d/'run',{**os.environ, 'MPLBACKEND': 'Agg', 'PYTHONUNBUFFERED': '1', 'TMPDIR': str(d)}
    ready = os.environ.get('MACA_RUN')             # a trained run to look at in place of this one
    if ready: run = Path(ready)
    else: subprocess.run([BIN/'maca_train', *TRAIN.split(), '--out', run], check=True, env=env, capture_output=True)
    p = subprocess.Popen([BIN/'maca_app', run, '--device', 'cpu'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, env=env)
    try:
        lines = []
        for line in p.stdout:
            lines.append(line)
            if m := re.search(r'http://127\.0\.0\.1:\d+', line): break
        else: pytest.fail('the page did not start:\n' + ''.join(lines))
        yield m[0], d
    finally:
        p.terminate()                                  # as a service manager does
        try: p.wait(120)
        except subprocess.TimeoutExpired: p.kill()
    assert not list(d.glob('maca_app_*')), 'uploads are left behind'

def pictures(d):
    from maca_net.data.draw import synth_faces
    faces,_ = synth_faces(2, size=200, seed=1, occlusion=0.)
    im = Image.new('RGB', (640,330), (150,170,150))
    for i,f in enumerate(faces): im.paste(Image.fromarray(f), (70+300*i, 65))
    im.save(d/'two.jpg', quality=95)
    Image.new('RGB', (320,240), (90,120,160)).save(d/'empty.png')
    (d/'broken.jpg').write_bytes((d/'two.jpg').read_bytes()[:900])
    (d/'eps.jpg').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n')
    return d

@pytest.fixture
def page(served):
    """size -> a browser window of that size on the page, which may reach nothing else; `camera`: an .mjpeg file that
    its camera shows. In the end no window may have met the page's content security policy"""
    from selenium import webdriver
    opened = []
    def go(w, h, camera=None):
        o = webdriver.ChromeOptions()
        o.binary_location = shutil.which('chromium') or shutil.which('google-chrome')
        for a in ('headless=new', 'no-sandbox', 'disable-gpu', 'disable-dev-shm-usage', 'disable-quic', 'no-first-run',
                  'disable-background-networking', 'disable-component-update', 'disable-sync', f'window-size={w},{h}',
                  'host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
                  f'user-data-dir={tempfile.mkdtemp(dir=served[1])}'): o.add_argument(f'--{a}')
        if camera:
            for a in ('use-fake-ui-for-media-stream', 'use-fake-device-for-media-stream',
                      f'use-file-for-fake-video-capture={camera}'): o.add_argument(f'--{a}')
        o.set_capability('goog:loggingPrefs', dict(performance='ALL', browser='ALL'))
        b = webdriver.Chrome(o, webdriver.ChromeService(shutil.which('chromedriver')))
        opened.append(b)
        resize(b, w, h)
        b.get(served[0])
        wait(b, lambda: find(b, '#answer .maca-message'))
        return b
    yield go
    said = [o['message'] for b in opened for o in b.get_log('browser')]
    for b in opened: b.quit()
    assert not [o for o in said if 'Content Security Policy' in o], said

def resize(b, w, h):
    size = dict(width=w, height=h, deviceScaleFactor=1, mobile=w<600)
    b.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
def find(b, css): return b.find_elements('css selector', css)
def wait(b, f, s=180):
    t = time.time()
    while time.time()-t<s:
        try:
            if r := f(): return r
        except Exception: pass
        time.sleep(.2)
    raise AssertionError(f'not within {s} s; the page says: ' + b.find_element('tag name', 'body').text[:800])
def shot(b, name):
    if SHOTS: time.sleep(.8)                           # what moves has come to rest
    h = b.execute_script('return document.documentElement.scrollHeight')
    w = b.execute_script('return window.innerWidth')
    resize(b, w, min(max(h, 500), 6000))
    png = b.get_screenshot_as_png()
    if SHOTS: (Path(SHOTS)/f'{name}.png').write_bytes(png)
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))
def hosts(b):
    events = [json.loads(o['message'])['message'] for o in b.get_log('performance')]
    urls = [m['params']['request']['url'] for m in events if m['method']=='Network.requestWillBeSent']
    return {urlsplit(u).hostname for u in urls if u.startswith('http')}
def upload(b, where, *files):
    wait(b, lambda: find(b, f'{where} input[type=file]'))[0].send_keys('\n'.join(map(str, files)))
def tab(b, name):
    wait(b, lambda: [o for o in find(b, 'button[role=tab]') if o.text==name and o.is_displayed()])[0].click()

CONTRAST = """
const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(c) {                                             // any CSS colour, painted on one pixel
  paint.clearRect(0, 0, 1, 1); paint.fillStyle = c; paint.fillRect(0, 0, 1, 1);
  const d = paint.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3]/255]; }
function over(a, b) { return [0, 1, 2].map(i => a[i]*a[3]+b[i]*(1-a[3])).concat(1); }
function ground(e) {
  if (!e) return [255, 255, 255, 1];
  const c = rgba(getComputedStyle(e).backgroundColor); return c[3]==1 ? c : over(c, ground(e.parentElement)); }
function light(c) {
  const [r, g, b] = c.slice(0, 3).map(v => (v/=255)<=.04045 ? v/12.92 : ((v+.055)/1.055)**2.4);
  return .2126*r+.7152*g+.0722*b; }
function ratio(a, b) { const [x, y] = [light(a), light(b)]; return (Math.max(x, y)+.05)/(Math.min(x, y)+.05); }
const low = [];
for (const e of document.querySelectorAll('.gradio-container *')) {
  const s = getComputedStyle(e), px = parseFloat(s.fontSize), back = ground(e);
  if (e.closest(':disabled, svg') || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
  const name = `${e.tagName} ${e.className} "${e.textContent.trim().slice(0, 30)}"`;
  if ([...e.childNodes].some(o => o.nodeType==3 && o.data.trim())) {
    const r = ratio(over(rgba(s.color), back), back);
    if (r<(px>=24 || px>=18.66 && s.fontWeight>=700 ? 3 : 4.5)) low.push(`${name}: ${r.toFixed(2)}`); }
  if (e.matches('input[type=checkbox]')) {
    const around = ground(e.parentElement), r = ratio(over(rgba(s.borderTopColor), around), around);
    if (r<3) low.push(`border of ${name}: ${r.toFixed(2)}`); } }
return low;"""

def low_contrast(b):
    "What is shown with less contrast than WCAG 2 AA asks for, in the light and in the dark theme"
    low,still = [],'* {transition:none !important}'                 # no colour is measured on its way
    b.execute_script('document.head.appendChild(document.createElement("style")).textContent = arguments[0]', still)
    for theme in ('light', 'dark'):
        b.execute_script('document.body.classList.toggle("dark", arguments[0])', theme=='dark')
        low += [f'{theme}: {o}' for o in b.execute_script(CONTRAST)]
    b.execute_script('document.body.classList.remove("dark")')
    return low

@pytest.mark.parametrize('w,h', [(1280,900), (390,844)])
def test_a_picture_is_answered(served, page, w, h):
    b,d = page(w, h),pictures(served[1])
    upload(b, '#picture', d/'two.jpg')
    cards = wait(b, lambda: find(b, '.maca-face'))
    assert [c.get_attribute('data-number') for c in cards]==['1', '2']         # as beside the boxes
    for c in cards:
        bars = [float(o.text.split()[0]) for o in c.find_elements('css selector', '.maca-bars b')]
        assert len(bars)==8 and abs(sum(bars)-100)<5
        bar = c.find_element('css selector', '.maca-bars b')
        high = bar.size['height']
        b.execute_script('arguments[0].textContent = ">99 %"', bar)
        assert bar.size['height']==high                                        # in one line
        assert c.find_element('css selector', 'h2').text.lower() in (c.get_attribute('data-label'), 'undecided')
        imgs = c.find_elements('css selector', 'img')
        assert len(imgs)==1+4+2                        # the face, four heads, Grad-CAM
        there = 'return arguments[0].complete && arguments[0].naturalWidth>0'
        for i in imgs: wait(b, lambda i=i: b.execute_script(there, i))
    assert b.execute_script('return document.documentElement.scrollWidth')<=w+1, 'wider than the window'
    a,z = (c.rect for c in cards)
    if w>600: assert a['y']==z['y'] and z['x']+z['width']-a['x']>.8*w              # beside each other, over the page
    else: assert a['x']==z['x'] and z['y']>=a['y']+a['height']
    assert 'not what the person feels' in b.find_element('tag name', 'body').text
    assert 'trained on faces drawn by code' in find(b, '.maca-warn')[0].text
    assert not (low := low_contrast(b)), low
    assert shot(b, f'picture-{w}').std()>20
    assert hosts(b)=={'127.0.0.1'}, hosts(b)

def filmed(d):
    "What a camera before two faces sees, for Chromium"
    frame = Image.open(pictures(d)/'two.jpg').resize((640,480))
    with open(d/'camera.mjpeg', 'wb') as f:
        for _ in range(5): frame.save(f, 'JPEG', quality=95)
    return d/'camera.mjpeg'

def test_the_camera_takes_a_picture(served, page):
    b = page(1280, 900, filmed(served[1]))
    wait(b, lambda: find(b, '#picture button[aria-label="Capture from camera"]'))[0].click()
    wait(b, lambda: find(b, '#picture [title="grant webcam access"] button'))[0].click()
    # the button comes before the first frame, and then does nothing
    wait(b, lambda: b.execute_script('return document.querySelector("#picture video").videoWidth'))
    wait(b, lambda: find(b, '#picture button[aria-label="capture photo"]'))[0].click()
    assert len(wait(b, lambda: find(b, '.maca-face')))==2
    shot(b, 'camera-1280')

@pytest.mark.parametrize('w,h', [(1280,900), (390,844)])
def test_the_camera_is_shown_live(served, page, w, h):
    b = page(w, h, filmed(served[1]))
    tab(b, 'Live')
    assert 'The camera is off' in wait(b, lambda: find(b, '#live')[0].text)
    wait(b, lambda: find(b, '#camera [title="grant webcam access"] button'))[0].click()
    wait(b, lambda: find(b, '#camera button[aria-label="capture photo"]'))[0].click()
    assert len(wait(b, lambda: find(b, '#live-faces .maca-face')))==2
    wait(b, lambda: find(b, '#live .maca-photo')[0].get_attribute('src').startswith('data:image/jpeg'))
    assert not find(b, '#live-faces .maca-maps')           # two frames a second leave no time for maps
    assert b.execute_script('return document.documentElement.scrollWidth')<=w+1
    wait(b, lambda: find(b, '#camera button[aria-label="capture photo"]'))[0].click()        # off again
    wait(b, lambda: not list(served[1].glob('maca_app_*/**/frame-*')))                       # no frame is kept
    shot(b, f'live-{w}')

def test_bad_pictures_are_refused_politely(served, page):
    b,d = page(1280, 900),pictures(served[1])
    for name,says in (('empty.png', 'No face found'), ('broken.jpg', 'broken.jpg cannot be read as an image'),
                      ('eps.jpg', 'eps.jpg cannot be read as an image')):
        upload(b, '#picture', d/name)
        wait(b, lambda: says in find(b, '#answer')[0].text)
        assert not find(b, '.maca-face') and str(d) not in find(b, '#answer')[0].text
        wait(b, lambda: find(b, '#picture button[aria-label="Remove Image"]'))[0].click()
        wait(b, lambda: 'No picture yet' in find(b, '#answer')[0].text)

def test_many_pictures_come_home_as_csv(served, page):
    b,d = page(1280, 900),pictures(served[1])
    tab(b, 'Many pictures')
    upload(b, '#files', d/'two.jpg', d/'empty.png', d/'broken.jpg')
    wait(b, lambda: 'broken' in find(b, '#files')[0].text and not find(b, '#files .uploading'))
    wait(b, lambda: [o for o in find(b, 'button') if o.text=='Read the faces'])[0].click()
    link = wait(b, lambda: find(b, 'a.maca-download'))[0]
    text = base64.b64decode(link.get_attribute('href').split('base64,')[1]).decode()
    rows = [(r['image'], bool(r['label'])) for r in csv.DictReader(io.StringIO(text))]
    assert rows==[('two.jpg',True)]*2 + [('empty.png',False), ('broken.jpg',False)]
    assert not (low := low_contrast(b)), low
    shot(b, 'many-1280')

def tab_button(b, name):
    "The button of a tab. On a phone the last ones are behind a button, which is pressed until they are there"
    if shown := [o for o in find(b, 'button[role=tab]') if o.text==name and o.is_displayed()]: return shown
    if hidden := [o for o in find(b, '.overflow-dropdown button') if o.text==name]: return hidden
    find(b, '.overflow-menu > button')[0].click()

def smallest_text(b):
    "Pixels of the screen for the smallest text of each figure of the run: 8 points, drawn at 160 dots an inch"
    px = 'return [...document.querySelectorAll("#run figure img")].map(o => o.clientWidth/o.naturalWidth)'
    return np.array(b.execute_script(px))*8/72*160

@pytest.mark.parametrize('w,h', [(1280,900), (390,844)])
def test_the_run_and_its_limits_are_shown(served, page, w, h):
    b = page(w, h)
    for name,where in (('The run', '#run'), ('Limits', '#ethics')):
        wait(b, lambda name=name: tab_button(b, name))[0].click()
        wait(b, lambda: find(b, where)[0].is_displayed() and find(b, where)[0].text)
        if where=='#run':
            for o in wait(b, lambda: find(b, '#run figure img')): assert o.rect['x']+o.rect['width']<=w
            assert smallest_text(b).min()>=7, smallest_text(b)
        else: assert 'AI Act' in find(b, where)[0].text and 'drawn by code' in find(b, where)[0].text
        assert b.execute_script('return document.documentElement.scrollWidth')<=w+1
        assert not (low := low_contrast(b)), low
        shot(b, f'{where[1:]}-{w}')
