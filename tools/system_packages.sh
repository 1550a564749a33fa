#!/bin/sh
# Install what some tests need from the system, where that is possible; otherwise those tests are skipped and say why.
set -eu

found() {
	for program in "$@"; do command -v "$program" >/dev/null 2>&1 && return 0; done
	return 1
}

missing=""
found chromium chromium-browser google-chrome || missing="$missing chromium"
found initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
found node && found npm || missing="$missing nodejs npm"
# The server and the module alone: no service that would start by itself.
found apache2 && [ -e /usr/lib/apache2/modules/mod_auth_openidc.so ] || missing="$missing apache2-bin libapache2-mod-auth-openidc"
# The clocks of the drills; only glibc has it.
[ -n "$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null)" ] || missing="$missing libfaketime"
# A disk whose power the drills cut; of no use where no file system can be mounted.
[ ! -w /dev/fuse ] || found fusermount3 || missing="$missing fuse3"
# For its promtool, which checks the alert rules.
found promtool || missing="$missing prometheus"
found pgbouncer || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! found apt-get; then
	echo "not installed:$missing; the tests that need them are skipped (on Debian: apt-get install$missing)"
	exit 0
fi
echo "installing for the tests:$missing"
# In a container, RUNLEVEL=1 keeps the services that come with the packages from being started: no test uses them.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt-get update -qq >"$log" 2>&1 || tail -n 5 "$log"
# One by one, so that a package that cannot be had takes no other with it.
for package in $missing; do
	apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1 ||
		{ echo "could not install $package; the tests that need it are skipped"; tail -n 5 "$log"; }
done
