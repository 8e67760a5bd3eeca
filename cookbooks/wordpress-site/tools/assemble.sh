#!/bin/sh
# assemble.sh SOURCE CONTENT TEMPLATE TARGET: WordPress's files, over them themes and plugins of one's own, over them what
# the tree says; all as plain files.
set -eu
rm -rf "$4"
mkdir -p "$4"
cp -RL "$1" "$4/site"
[ -z "$2" ] || cp -RL "$2/." "$4/site/wp-content/"
cp -RL "$3/." "$4/"
