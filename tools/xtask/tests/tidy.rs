//! Tidy as a test.

#[test]
fn the_tree_is_tidy() {
    let findings = xtask::tidy::check(&xtask::root()).expect("the tree can be read");
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
