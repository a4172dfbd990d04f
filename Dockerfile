# make wheel && docker build -t medgen .
# How to use it: docs/how-to/run-in-a-container.md
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

# The index with the torch that is wanted: whl/cpu, or whl/cu130 and the like, as the installation page of PyTorch lists them.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=dicom,dicom-codecs,flows,reader

# torch alone comes from there; what it needs comes with the rest, in the versions of constraints.txt.
COPY constraints.txt dist/medgen-*.whl /tmp/medgen/
RUN pip install --no-cache-dir --no-deps -c /tmp/medgen/constraints.txt --index-url "${TORCH_INDEX}" torch \
    && pip install --no-cache-dir -c /tmp/medgen/constraints.txt "$(ls /tmp/medgen/medgen-*.whl)[${EXTRAS}]" \
    && rm -rf /tmp/medgen \
    && useradd --create-home --uid 1000 medgen \
    && mkdir /data \
    && chown medgen /data

# Any user may run it (--user): what wants a home finds one that everybody can write to.
ENV HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1
USER 1000
WORKDIR /data
ENTRYPOINT ["medgen"]
CMD ["--help"]
