"The window of `maca_predict --camera`, really opened, on a display in memory (Xvfb)"
import os, shutil, subprocess, sys, tempfile
from pathlib import Path
import pytest
from filelock import FileLock

SHOW = '''import os
from PIL import Image, ImageGrab
from maca_net.deploy.video import open_window
w = open_window('a camera')
assert w.show(Image.new('RGB', (200,100), (255,0,0))) and w.show(Image.new('RGB', (200,100), (0,0,255)))
shades = dict((color, n) for n,color in ImageGrab.grab(xdisplay=os.environ['DISPLAY']).convert('RGB').getcolors(10**6))
w.root.focus_force(); w.root.update()                   # no window manager does so here
w.root.event_generate('<Escape>')
print('open', w.show(Image.new('RGB', (9,9))))
w.close()
print(type(w).__name__, shades.get((0,0,255), 0), shades.get((255,0,0), 0))'''

@pytest.fixture
def display():
    "The name of an X display that nobody sees"
    if not shutil.which('Xvfb') and hasattr(os, 'geteuid') and os.geteuid()==0 and shutil.which('apt-get'):
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
        with FileLock(Path(tempfile.gettempdir())/'maca_net_apt.lock'):       # tests run side by side, apt-get does not
            if not shutil.which('Xvfb'):
                subprocess.run(['apt-get', 'update', '-qq'], **quiet)
                subprocess.run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'xvfb'], **quiet)
    if not shutil.which('Xvfb'): pytest.skip('Xvfb is not here: apt-get install xvfb')
    pytest.importorskip('tkinter')
    p = subprocess.Popen(['Xvfb', '-displayfd', '1', '-screen', '0', '640x480x24', '-nolisten', 'tcp'], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    yield ':' + p.stdout.readline().strip()
    p.terminate()
    p.wait(120)

def test_the_window_shows_the_newest_picture_and_closes(display):
    env = {k: v for k,v in os.environ.items() if k!='WAYLAND_DISPLAY'}
    r = subprocess.run([sys.executable, '-c', SHOW], capture_output=True, text=True, env={**env, 'DISPLAY': display})
    assert r.returncode==0, r.stderr
    assert r.stdout.splitlines()==['open False', 'TkWindow 20000 0'], r.stdout     # Escape closes; blue in place of red
