#!/bin/sh
# Stands for memcached in its own tests: starts our process with what the options mean here.
[ "${1:-}" = -h ] && { echo "memcached 1.6.18"; exit 0; }
memory=64 item=1m port=11211 more=
refuse() { echo "not supported: $1" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case "$1" in
    -m) memory=$2; shift 2 ;;
    -I) item=$2; shift 2 ;;
    -p) port=$2; shift 2 ;;
    # Whether there is UDP, as whom to run, how many threads, where to listen: nothing of it changes what is tested.
    -U | -u | -R | -t | -l) shift 2 ;;
    -M) more="$more
memory.full = refuse"; shift ;;
    -F) more="$more
commands.flush = no"; shift ;;
    -W) more="$more
commands.watch = no"; shift ;;
    -o)
        case ",$2," in *ext_path* | *ssl* | *proxy*) refuse "$2" ;; esac
        case ",$2," in *,idle_timeout=*)
            limit=${2#*idle_timeout=}
            more="$more
idle.limit = ${limit%%,*} s" ;;
        esac
        case ",$2," in
        *,lru_crawler,*) ;;
        *,no_modern,* | *,no_lru_crawler,*) more="$more
memory.crawl = no" ;;
        esac
        shift 2 ;;
    *) refuse "$1" ;;
    esac
done
case $item in *k) item="${item%k} KiB" ;; *m) item="${item%m} MiB" ;; *) item="$item B" ;; esac
run=$(mktemp -d "@FOLDER@/run.XXXXXX")
most=$memory
[ "$most" -ge 64 ] || most=64
cat > "$run/kv.conf" <<END
listen = $port
address = 10.77.0.2/24
gateway = 10.77.0.1
memory.items = $memory MiB
memory.items.max = $most MiB
item.max = $item
drain.limit = 100 ms
tuner = off
commands.debugtime = yes
management.token = 00112233445566778899aabbccddeeff$more
END
exec "@PROGRAM@" --config "$run/kv.conf" --run "$run" --port "$port"
