# SPDX-FileCopyrightText: 2026 the cxrlib authors
# SPDX-License-Identifier: MIT
#
# Builds the book on phantoms, as the user of the container and without a network:
#   docker build -t cxr-book .
#   docker run --rm --network=none -v "$PWD/_build:/work/_build" cxr-book                 make book
#   docker run --rm --network=none -v "$PWD/_build:/work/_build" cxr-book verify          make verify
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make git \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home reader && mkdir /work && chown reader /work
USER reader
WORKDIR /work

# The environment alone first: it is made again only if the lock changes.
COPY --chown=reader requirements.lock pyproject.toml README.md LICENSE Makefile ./
COPY --chown=reader LICENSES LICENSES
COPY --chown=reader tools/locked.py tools/
COPY --chown=reader cxrlib cxrlib
RUN make environment

COPY --chown=reader . .

ENTRYPOINT ["make"]
CMD ["book"]
