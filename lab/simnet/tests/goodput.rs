//! Goodput over loss, round trip and buffer stays what it was: whoever means to change it writes the table anew and
//! shows the difference.

#[test]
fn the_table_is_the_one_that_is_kept() {
    let kept = include_str!("goodput.txt");
    let now = nom_simnet::goodput::table();
    assert!(
        now == kept,
        "goodput changed; if that is meant: cargo run -p nom-simnet --example goodput > \
         lab/simnet/tests/goodput.txt\nnow:\n{now}\nkept:\n{kept}"
    );
}
