#!/bin/sh
# Two ranks in network namespaces of their own, with 1 Gbit/s between them: sh benchmarks/ranks/two_networks.sh PYTHON
# It needs root, ip and tc, and MPICH beside that Python. What it makes, it takes away again.
set -eu
python=$1 bin=$(dirname "$1") work=$(mktemp -d)
ends() { ip netns del gd_one 2>/dev/null || true; ip netns del gd_two 2>/dev/null || true; rm -rf "$work"; }
trap ends EXIT
ip netns add gd_one
ip netns add gd_two
ip link add gd_link netns gd_one type veth peer name gd_link netns gd_two
for end in "gd_one 10.77.0.1" "gd_two 10.77.0.2"; do
    set -- $end gd_link
    ip -n "$1" addr add "$2/24" dev "$3"
    ip -n "$1" link set "$3" up
    ip -n "$1" link set lo up
    # A small bucket: what fits into it would go at once.
    ip netns exec "$1" tc qdisc add dev "$3" root tbf rate 1gbit burst 32kb latency 50ms
done
# UCX takes a link only when both of its ends are up.
for space in gd_one gd_two; do
    until ip -n "$space" link show gd_link | grep -q "state UP"; do sleep 0.1; done
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
# Both are one machine to UCX, which would use its memory, or the loopback that leads nowhere else.
ip netns exec gd_one "$bin/mpiexec" -launcher ssh -launcher-exec "$work/start" -localhost 10.77.0.1 \
    -hosts 10.77.0.1,10.77.0.2 -n 2 -ppn 1 -genv UCX_TLS tcp,self -genv UCX_NET_DEVICES gd_link -genv PYTHONPATH "${PYTHONPATH:-}" \
    "$python" -m benchmarks.ranks.predicted
