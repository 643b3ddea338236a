#!/bin/sh
# Installs the reference for chat templates and tokenizers, for the tests that compare with it.
exec "$(dirname "$0")/install-python.sh" reference-1 'jinja2, tokenizers' jinja2==3.1.6 tokenizers==0.22.2
