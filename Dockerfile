# maca_serve in a container, for the CPU and without torch. To build it, start it and ask it:
#   docker build -t maca_serve .
#   docker run --rm -p 127.0.0.1:8000:8000 maca_serve
#   curl --data-binary @photo.jpg http://127.0.0.1:8000/predict
# With a model of your own, runs/ferplus/ferplus.onnx, that maca_export wrote:
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/ferplus:/model:ro" maca_serve --model /model/ferplus.onnx
# It answers requests for localhost and for addresses such as 192.0.2.7. A host name, of a proxy say, must be named:
#   docker run --rm -p 8000:8000 maca_serve --allow-host faces.example
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml settings.ini setup.py MANIFEST.in README.md LICENSE ./
COPY maca_net ./maca_net
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
# the packages first: another version of the code does not install them again
COPY maca_net/requirements-predict.txt maca_net/requirements-serve.txt /requirements/
RUN python -m pip install --no-cache-dir -r /requirements/requirements-serve.txt
COPY --from=build /wheel /wheel
RUN python -m pip install --no-cache-dir --no-deps /wheel/*.whl
RUN useradd --create-home maca
USER maca
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["maca_serve", "--host", "0.0.0.0", "--port", "8000"]
