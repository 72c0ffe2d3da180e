#!/bin/sh
# Two ranks in network namespaces of their own, with 1 Gbit/s between them: sh benchmarks/ranks/two_networks.sh PYTHON
# It needs root, ip and tc, and MPICH beside that Python. What it makes, it takes away again.
set -eu
python=$1 bin=$(dirname "$1") work=$(mktemp -d)
ends() { ip netns del gd_one 2>/dev/null || true; ip netns del gd_two 2>/dev/null || true; rm -rf "$work"; }
trap ends EXIT
ip netns add gd_one
ip netns add gd_two
ip link add gd_v1 netns gd_one type veth peer name gd_v2 netns gd_two
for end in "gd_one gd_v1 10.77.0.1" "gd_two gd_v2 10.77.0.2"; do
    set -- $end
    ip -n "$1" addr add "$3/24" dev "$2"
    ip -n "$1" link set "$2" up
    ip -n "$1" link set lo up
    # A small bucket: what fits into it would go at once.
    ip netns exec "$1" tc qdisc add dev "$2" root tbf rate 1gbit burst 32kb latency 50ms
done
# mpiexec starts what runs on the other machine as ssh would; a namespace stands for the machine here.
cat >"$work/start" <<'START'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in 10.77.0.2) space=gd_two ;; *) space=gd_one ;; esac
shift
exec ip netns exec "$space" sh -c "$*"
START
chmod +x "$work/start"
# Both are one machine to UCX, which would use its memory.
ip netns exec gd_one "$bin/mpiexec" -launcher ssh -launcher-exec "$work/start" -localhost 10.77.0.1 \
    -hosts 10.77.0.1,10.77.0.2 -n 2 -ppn 1 -genv UCX_TLS tcp,self -genv PYTHONPATH "${PYTHONPATH:-}" \
    "$python" -m benchmarks.ranks.predicted
