#!/bin/sh
# Brings Debian's Chromium into .cache/, for the tests of the dashboard. No root is needed, and nothing is installed:
# the packages that the machine lacks are fetched and unpacked, under package lists of our own.
# Without apt or a network it fails in CI; elsewhere it is said, and the tests of the dashboard skip themselves loudly.
set -u
cd "$(dirname "$0")/.."
folder=$PWD/.cache/chromium-debian
runs() { "$1" --version >/dev/null 2>&1; }
command -v chromium >/dev/null && runs chromium && exit 0
[ -x "$folder/chromium" ] && runs "$folder/chromium" && exit 0
fail() {
  echo "install-chromium: $1" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 0
}
command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
  fail "no chromium on PATH, and no apt to fetch it with; install chromium to run the tests of the dashboard"
rm -rf "$folder" && mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$folder/root"
lists="-qq -o Dir::State::Lists=$folder/lists -o Dir::Cache=$folder -o Dir::Cache::archives=$folder/archives -o APT::Sandbox::User=root"
log=$folder/install.log
# shellcheck disable=SC2086
apt-get $lists update >"$log" 2>&1 || fail "apt-get update failed, see $log"
# shellcheck disable=SC2086
packages=$(apt-get $lists install -s --no-install-recommends chromium fonts-dejavu-core 2>>"$log" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
[ -n "$packages" ] || fail "this machine's package lists have no chromium, see $log"
# shellcheck disable=SC2086
(cd "$folder/archives" && apt-get $lists download $packages) >>"$log" 2>&1 || fail "chromium's packages could not be fetched, see $log"
for package in "$folder"/archives/*.deb; do
  dpkg -x "$package" "$folder/root" || fail "$package could not be unpacked"
done
rm -rf "$folder/archives" "$folder/lists"
libraries=$(find "$folder/root/usr/lib" "$folder/root/lib" -name '*.so*' -type f -not -path '*/chromium/*' -exec dirname {} \; 2>/dev/null | sort -u | tr '\n' ':')
cat >"$folder/chromium" <<END
#!/bin/sh
LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:-}" exec "$folder/root/usr/lib/chromium/chromium" "\$@"
END
chmod +x "$folder/chromium"
runs "$folder/chromium" || fail "chromium does not start: $("$folder/chromium" --version 2>&1 | head -n 3)"
"$folder/chromium" --version
