"`maca_serve` as a process of its own, without torch: what a real client sends, and what a hostile one may send."
import concurrent.futures, http.client, io, json, os, pickle, re, signal, socket, subprocess, sys, time, zipfile, zlib
import pytest
from PIL import Image

COMMAND = '''import sys
for m in ('torch', 'torchvision', 'fastai', 'pandas', 'matplotlib', 'fastprogress', 'gradio'): sys.modules[m] = None
from maca_net.cli.serve import maca_serve
maca_serve(sys.argv[1:])'''

def module(name, *args, **kw):
    "A command of this package in a process"
    code = f'from maca_net.cli.{name} import maca_{name}; maca_{name}()'
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, **kw)

def tiny_onnx(folder):
    "A tiny network as ONNX, trained for seconds"
    from maca_net.deploy.export import export_run
    from maca_net.runs.config import RunConfig
    from maca_net.runs.train import train_run
    small = dict(n_faces=128, arch='resnet18', method='baseline', size=48, epochs=1, bs=32, last_stride=1)
    cfg = RunConfig(**small, device='cpu')
    train_run(cfg, folder/'run', figures=False)
    return export_run(folder/'run', 'onnx', folder/'tiny.onnx')['file']

@pytest.fixture(scope='module')
def model(tmp_path_factory): return tiny_onnx(tmp_path_factory.mktemp('model'))

class Served:
    "The command, and the address that it printed"
    def __init__(self, *args):
        self.process = subprocess.Popen([sys.executable, '-c', COMMAND, *map(str, args)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line: pytest.fail('maca_serve did not start: ' + self.process.communicate()[1])
        self.port = int(re.search(r'http://127\.0\.0\.1:(\d+)', line)[1])

    def connection(self): return http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)

    def ask(self, method, path, body=None, **headers):
        "(status, answer, headers)"
        c = self.connection()
        c.request(method, path, body, {k.replace('_', '-'): v for k,v in headers.items()})
        r = c.getresponse()
        return r.status,json.loads(r.read()),r.headers

    def stop(self, number=signal.SIGTERM):
        "(exit code, stderr)"
        self.process.send_signal(number)
        return self.process.wait(120),self.process.stderr.read()

@pytest.fixture(scope='module')
def served(model):
    s = Served('--model', model)
    yield s
    if s.process.poll() is None: s.process.kill(); s.process.wait()

@pytest.fixture(scope='module')
def photo():
    "Two drawn faces in a larger picture, as PNG"
    from maca_net.data.draw import synth_faces
    faces,_ = synth_faces(2, size=160, seed=1, occlusion=0.)
    im = Image.new('RGB', (560,260), (150,170,150))
    for i,f in enumerate(faces): im.paste(Image.fromarray(f), (50+260*i, 50))
    return encoded(im)

def encoded(im, format='PNG', **kw):
    b = io.BytesIO()
    im.save(b, format, **kw)
    return b.getvalue()

def form(content, name='photo.png'):
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return dict(body=head.encode() + content + b'\r\n--x--\r\n', Content_Type='multipart/form-data; boundary=x')

def test_a_picture_gives_what_maca_predict_gives(served, model, photo, tmp_path):
    (tmp_path/'photo.png').write_bytes(photo)
    want, = json.loads(module('predict', tmp_path/'photo.png', '--model', model, '--json').stdout)
    status,got,_ = served.ask('POST', '/predict', photo)
    assert status==200 and len(got['faces'])==2
    assert dict(got, image=want['image'])==want
    status,sent,_ = served.ask('POST', '/predict', **form(photo))
    assert (status, sent)==(200, dict(got, image='photo.png'))

def test_health_names_the_model(served):
    status,got,headers = served.ask('GET', '/health')
    assert status==200 and got['status']=='ok' and got['model'].startswith('tiny.onnx-') and len(got['labels'])==8
    assert headers['Content-Type']=='application/json' and headers['X-Content-Type-Options']=='nosniff'

def zipped():
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a.png', bytes(10**7))
    return b.getvalue()

class Program:
    "A pickle that writes a file when it is read"
    def __init__(self, file): self.file = file
    def __reduce__(self): return os.system, (f'touch {self.file}',)

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/><script>alert(1)</script></svg>'
EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n'

@pytest.mark.parametrize('name', ['nothing', 'text', 'damaged', 'zip', 'svg', 'eps', 'html', 'json', 'gif'])
@pytest.mark.parametrize('as_form', [False, True])
def test_what_is_no_picture_is_one_sentence(served, photo, name, as_form):
    body = dict(nothing=b'', text=b'a photograph', damaged=photo[:len(photo)//3], zip=zipped(), svg=SVG, eps=EPS,
        html=b'<script>alert(1)</script>', json=b'{"image": "file:///etc/passwd"}', gif=b'GIF89a' + bytes(99))[name]
    status,got,_ = served.ask('POST', '/predict', **(form(body, '../../a.png') if as_form else dict(body=body)))
    assert status==400 and list(got)==['error'] and '\n' not in got['error'] and 'Traceback' not in got['error']
    assert ('no picture came' if name=='nothing' else 'cannot be') in got['error']

def test_a_pickle_is_not_opened(served, tmp_path):
    body = pickle.dumps(Program(tmp_path/'ran'))
    for kw in (dict(body=body), dict(body=body, Content_Type='application/octet-stream'), form(body, 'a.pkl')):
        assert served.ask('POST', '/predict', **kw)[0]==400
    assert not (tmp_path/'ran').exists()
    pickle.loads(body)
    assert (tmp_path/'ran').exists()                               # so the test can fail

def test_too_large_is_refused_before_it_is_read(served):
    c = served.connection()
    c.putrequest('POST', '/predict')
    c.putheader('Content-Length', str(21*2**20))
    c.endheaders()                                                 # and not a byte of it
    r = c.getresponse()
    assert r.status==413 and 'larger than 20 MB' in json.loads(r.read())['error']

def test_too_large_without_a_length_is_refused_at_the_limit(served):
    def pieces():
        for _ in range(400): yield bytes(2**16)                    # 25 MB
    c = served.connection()
    try:
        c.request('POST', '/predict', pieces(), encode_chunked=True)
        r = c.getresponse()
        assert r.status==413 and 'larger than 20 MB' in json.loads(r.read())['error']
    except (BrokenPipeError, ConnectionResetError): pass           # cut off while it was sent: refused too
    assert served.ask('GET', '/health')[0]==200

def test_many_pixels_in_few_bytes(served):
    def chunk(kind, b): return len(b).to_bytes(4, 'big') + kind + b + zlib.crc32(kind+b).to_bytes(4, 'big')
    head = (60000).to_bytes(4, 'big')*2 + bytes([8,2,0,0,0])
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b'0')) + chunk(b'IEND', b'')
    status,got,_ = served.ask('POST', '/predict', png)
    assert status==413 and '65 million' in got['error']

def test_forms_of_another_shape(served, photo):
    two = form(photo)['body'].replace(b'--x--\r\n', b'') + form(photo)['body']
    field = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\na\r\n'
    fields = 50*field + b'--x--\r\n'
    torn = form(photo)['body'][:200]
    for body in (two, fields, torn):
        status,got,_ = served.ask('POST', '/predict', body, Content_Type='multipart/form-data; boundary=x')
        assert status==400 and list(got)==['error'], got

def test_who_is_answered(served, photo):
    for headers in (dict(Host='evil.example'), dict(Origin='http://evil.example'), dict(Origin='null')):
        for method,path in (('GET', '/health'), ('POST', '/predict')):
            status,got,_ = served.ask(method, path, photo if method=='POST' else None, **headers)
            assert status==403 and list(got)==['error']
    assert served.ask('GET', '/health', Host=f'localhost:{served.port}')[0]==200

def test_other_addresses(served):
    assert served.ask('GET', '/predict')[0]==405
    for path in ('/docs', '/../../etc/passwd', '/predict/x'):
        status,got,_ = served.ask('GET', path)
        assert status==404 and 'POST /predict' in got['error']

def test_no_http_at_all(served):
    with socket.create_connection(('127.0.0.1', served.port), timeout=60) as s:
        s.sendall(b'\x16\x03\x01 hello\r\n\r\n')
        assert b' 400 ' in s.recv(4096)
    assert served.ask('GET', '/health')[0]==200

def test_several_at_once(served, photo):
    "All are answered alike; beyond those that may wait, a 503 says so"
    alone = served.ask('POST', '/predict', photo)[1]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: served.ask('POST', '/predict', photo), range(8)))
    assert [(status, answer) for status,answer,_ in got]==[(200, alone)]*8
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        got = list(pool.map(lambda _: served.ask('POST', '/predict', photo), range(30)))
    assert {status for status,_,_ in got}<={200, 503}
    assert [answer for status,answer,_ in got if status==200]==[alone]*sum(status==200 for status,_,_ in got)
    assert all('try again' in answer['error'] and h['Retry-After']=='1' for status,answer,h in got if status==503)
    assert served.ask('POST', '/predict', photo)[0]==200

@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_ends_in_order(model, photo, number):
    "A picture that is sent already gets its answer"
    s = Served('--model', model)
    head = f'POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nContent-Length: {len(photo)}\r\n'
    with socket.create_connection(('127.0.0.1', s.port), timeout=60) as c:
        c.sendall(f'{head}Expect: 100-continue\r\n\r\n'.encode())
        assert b' 100 ' in c.recv(4096)                            # the service reads: it has this picture in hand
        s.process.send_signal(number)
        time.sleep(.3)
        c.sendall(photo)
        r = http.client.HTTPResponse(c)
        r.begin()
        assert r.status==200 and len(json.loads(r.read())['faces'])==2
    assert s.process.wait(120)==130
    assert s.process.stderr.read().strip()=='maca_serve: stopped'

def test_a_taken_port_is_one_sentence(served, model):
    r = module('serve', '--model', model, '--port', served.port)
    assert r.returncode==2 and r.stdout=='' and r.stderr.count('\n')==1 and 'is taken' in r.stderr

def test_nothing_was_written_to_the_log(model, photo, served):
    "What visitors do wrong is no error of the service"
    code,err = served.stop()
    assert (code, err.strip())==(130, 'maca_serve: stopped')
