//! A publisher and its readers over real files and sockets.

use nom_abi::board::{Prices, Rate};
use nom_linux_board::{BoardError, Publisher, READERS_MAX, Reader};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nom-board-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn board(&self) -> PathBuf {
        self.0.join("board")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn prices(atto: i128) -> Prices {
    let mut prices = Prices { published_ns: 5, ..Prices::NONE };
    prices.rates[0] = Some(Rate { atto_per_unit: atto, valid_until_ns: 0 });
    prices
}

#[test]
fn readers_see_what_is_published_and_hear_of_it() {
    let place = Place::new("hear");
    let mut publisher = Publisher::create(&place.board()).unwrap();
    let mut reader = Reader::open(&place.board()).unwrap();
    assert_eq!(reader.read(), Ok(Prices::NONE));
    publisher.accept();
    assert!(reader.heard(0), "a new reader is told to look");
    assert!(!reader.heard(0));
    assert_eq!(publisher.publish(&prices(7)).unwrap(), 1);
    assert!(reader.heard(0));
    assert_eq!(reader.read(), Ok(Prices { generation: 1, ..prices(7) }));
    // One that never reads does not stop the publisher.
    for _ in 0..100_000 {
        publisher.publish(&prices(8)).unwrap();
    }
    assert_eq!(publisher.readers(), 1);
    assert!(reader.heard(0));
}

/// A service that became another user has to hear of prices, too.
#[test]
fn whoever_may_read_the_board_may_connect() {
    let place = Place::new("mode");
    let socket = place.0.join("board.notify");
    for (mode, connects) in [(0o644, 0o666), (0o640, 0o660), (0o600, 0o600)] {
        let publisher = Publisher::create(&place.board()).unwrap();
        drop(publisher);
        fs::set_permissions(place.board(), fs::Permissions::from_mode(mode)).unwrap();
        let _publisher = Publisher::create(&place.board()).unwrap();
        let seen = fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(seen, connects, "{mode:o}");
    }
}

#[test]
fn a_new_publisher_goes_on_where_the_old_one_stopped() {
    let place = Place::new("again");
    let mut publisher = Publisher::create(&place.board()).unwrap();
    publisher.publish(&prices(1)).unwrap();
    let mut reader = Reader::open(&place.board()).unwrap();
    drop(publisher);
    while reader.notices().is_some() {
        reader.heard(0);
    }
    let mut publisher = Publisher::create(&place.board()).unwrap();
    assert!(!reader.heard(5), "connects again");
    assert!(reader.notices().is_some());
    assert_eq!(publisher.publish(&prices(2)).unwrap(), 2);
    assert!(reader.heard(6));
    assert_eq!(reader.read().unwrap().generation, 2);
}

#[test]
fn a_second_publisher_and_a_file_that_is_no_board_are_refused() {
    let place = Place::new("refuse");
    let _publisher = Publisher::create(&place.board()).unwrap();
    assert!(matches!(Publisher::create(&place.board()), Err(BoardError::Taken(_))));
    let other = place.0.join("other");
    std::fs::write(&other, vec![1; 5000]).unwrap();
    assert!(matches!(Publisher::create(&other), Err(BoardError::NotABoard(_))));
    assert!(matches!(Reader::open(&other), Err(BoardError::NotABoard(_))));
    std::fs::write(&other, b"short").unwrap();
    assert!(matches!(Reader::open(&other), Err(BoardError::File("map", ..))));
    let missing = Reader::open(&place.0.join("missing")).unwrap_err().to_string();
    assert!(missing.starts_with("price board: cannot open"), "{missing}");
}

#[test]
fn readers_beyond_the_bound_are_not_told_but_can_look() {
    let place = Place::new("bound");
    let mut publisher = Publisher::create(&place.board()).unwrap();
    let mut readers: Vec<Reader> = (0..READERS_MAX + 3)
        .map(|_| {
            let reader = Reader::open(&place.board()).unwrap();
            publisher.accept();
            reader
        })
        .collect();
    assert_eq!(publisher.readers(), READERS_MAX);
    publisher.publish(&prices(3)).unwrap();
    assert!(readers[0].heard(0));
    let last = readers.last_mut().unwrap();
    last.heard(0);
    assert!(last.notices().is_none());
    assert_eq!(last.read().unwrap().generation, 1);
}
