use super::*;

#[test]
fn lines_and_their_meaning() {
    let long = [b'k'; KEY_MAX + 1];
    let whole = Set { verb: Verb::Set, unique: 0, key: b"k", flags: 7, expires: -1, len: 3, noreply: false };
    for (line, command) in [
        (&b"get a b"[..], Command::Get { unique: false, keys_at: 3 }),
        (b"  gets  a", Command::Get { unique: true, keys_at: 6 }),
        (b"get", refuse(ERROR)),
        (b"set k 7 -1 3", Command::Set(whole)),
        (b"set k 7 -1 3 noreply", Command::Set(Set { noreply: true, ..whole })),
        (b"set k 7 -1 3 else", Command::Set(whole)),
        (b"set k 7 -1", refuse(ERROR)),
        (b"set k 7 -1 3 noreply x", refuse(ERROR)),
        (b"set k -7 0 3", refuse(BAD_FORMAT)),
        (b"set k 4294967303 4294967295 3", Command::Set(whole)),
        (b"set k 7 -1 99999999999", refuse(BAD_FORMAT)),
        (b"set k 7 0 x", refuse(BAD_FORMAT)),
        (b"set k 7 0 x noreply", Command::Refuse { answer: BAD_FORMAT, silent: true }),
        (b"delete k", Command::Delete { key: b"k", noreply: false }),
        (b"delete k 0 noreply", Command::Delete { key: b"k", noreply: true }),
        (b"delete k 1", refuse(BAD_DELETE)),
        (b"delete", refuse(ERROR)),
        (b"", refuse(ERROR)),
        (b"GET a", refuse(ERROR)),
        (b"stats items", Command::Admin),
        (b"lru_crawler metadump all", Command::Admin),
        (b"add k 7 -1 3", Command::Set(Set { verb: Verb::Add, ..whole })),
        (b"cas k 7 -1 3 9", Command::Set(Set { verb: Verb::Cas, unique: 9, ..whole })),
        (b"cas k 7 -1 3 9 noreply", Command::Set(Set { verb: Verb::Cas, unique: 9, noreply: true, ..whole })),
        (b"cas k 7 -1 3 x", refuse(BAD_FORMAT)),
        (b"cas k 7 -1 3", refuse(ERROR)),
        (b"incr k 5", Command::Add { key: b"k", delta: 5, up: true, noreply: false }),
        (b"decr k 5 noreply", Command::Add { key: b"k", delta: 5, up: false, noreply: true }),
        (b"incr k x", refuse(BAD_DELTA)),
        (b"incr k", refuse(ERROR)),
        (b"touch k 5", Command::Touch { key: b"k", expires: 5, noreply: false }),
        (b"touch k x", refuse(BAD_TIME)),
        (b"gat 5 a b", Command::GetAndTouch { unique: false, expires: 5, keys_at: 5 }),
        (b"gats x a b", refuse(BAD_TIME)),
        (b"flush_all", Command::Flush { delay: 0, noreply: false }),
        (b"flush_all noreply", Command::Flush { delay: 0, noreply: true }),
        (b"flush_all 5 noreply", Command::Flush { delay: 5, noreply: true }),
        (b"flush_all x", refuse(BAD_TIME)),
        (b"flush_all 1 2 3", refuse(ERROR)),
        (b"verbosity 1", Command::Verbosity { noreply: false }),
        (b"verbosity", refuse(ERROR)),
        (b"mg k v", Command::Meta { letter: b'g', words_at: 2 }),
        (b"mx k v", refuse(ERROR)),
        (b"GET / HTTP/1.1", Command::HangUp),
    ] {
        assert_eq!(parse(line), command, "{line:?}");
    }
    let line: std::vec::Vec<u8> = [b"get a ", &long[..]].concat();
    assert_eq!(parse(&line), refuse(BAD_FORMAT));
}
