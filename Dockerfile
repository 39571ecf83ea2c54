# One image for every process of a cluster: `jianguan worker`, `jianguan dashboards`, and the commands.
FROM python:3.11-slim-bookworm AS build

WORKDIR /source
RUN python -m venv /opt/jianguan
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The dependencies first: they change seldom, and this layer is the large one.
COPY pyproject.toml constraints.txt README.md ./
RUN python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' > requirements.txt \
    && /opt/jianguan/bin/pip install -c constraints.txt -r requirements.txt

COPY jianguan jianguan
COPY rules rules
COPY streams streams
COPY sinks sinks
COPY dashboards dashboards
RUN /opt/jianguan/bin/pip install --no-deps -c constraints.txt .


FROM python:3.11-slim-bookworm

RUN groupadd --system --gid 10001 jianguan \
    && useradd --system --uid 10001 --gid jianguan --home-dir /var/lib/jianguan --create-home --shell /usr/sbin/nologin jianguan \
    && chmod 700 /var/lib/jianguan

COPY --from=build /opt/jianguan /opt/jianguan

ENV PATH=/opt/jianguan/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    JIANGUAN_DATA=/var/lib/jianguan \
    JIANGUAN_LOG_FORMAT=json

USER 10001:10001
WORKDIR /var/lib/jianguan
EXPOSE 8600 9600

ENTRYPOINT ["jianguan"]
CMD ["--help"]
