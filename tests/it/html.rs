//! The page for a browser, as text. `tests/browser.py` opens it in one.

use crate::world::{CAT, LABELS, MODEL, TREE, TRUNCATED, classify, clipclass, stdout_of};

#[test]
fn a_page_has_a_card_for_each_image() {
    let page = stdout_of(&classify(&["--format", "html", TREE, CAT, TRUNCATED]), 1);
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.ends_with("</script></body></html>\n"), "{page}");
    assert_eq!(page.matches("<article ").count(), 3);
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 2);
    assert!(page.contains("<p class=\"prediction\"><bdi>a tree</bdi></p>"), "{page}");
    assert!(page.contains("failed (decode): "), "{page}");
}

#[test]
fn pictures_are_as_small_as_asked_for() {
    let page = |px| stdout_of(&classify(&["--format", "html", "--thumbnails", px, TREE]), 0);
    assert!(page("32").contains("width=\"32\""));
    assert!(!page("0").contains("<img"));
    assert!(page("16").len() < page("64").len());
}

#[test]
fn nothing_is_fetched_and_only_the_page_s_own_script_may_run() {
    let page = stdout_of(&classify(&["--format", "html", TREE]), 0);
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "));
    for address in ["http:", "https:", "src=\"//", "@import", "url("] {
        assert!(!page.contains(address), "{address}");
    }
}

#[test]
fn names_and_labels_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let name = "\"><script>alert(1)<script> & \u{202e}gpj.png";
    std::fs::copy(CAT, folder.path().join(name)).unwrap();
    let labels = "<script>alert(2)</script>,a \"cat\" & more";
    let mut command = clipclass();
    command.args(["--model", MODEL, "--labels", labels, "--format", "html"]).arg(folder.path());
    let page = stdout_of(&command.output().unwrap(), 0);
    assert_eq!(page.matches("<script>").count(), 1, "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;script&gt; &amp; "), "{page}");
    assert!(page.contains("&lt;script&gt;alert(2)&lt;/script&gt;"), "{page}");
    assert!(page.contains("a &quot;cat&quot; &amp; more"), "{page}");
}

#[test]
fn of_many_labels_a_card_has_the_best() {
    let labels = format!("{LABELS},a,b,c,d,e,f");
    let rows = |arguments: &[&str]| {
        let mut command = clipclass();
        command.args(["--model", MODEL, "--labels", &labels, "--format", "html", TREE]).args(arguments);
        stdout_of(&command.output().unwrap(), 0).matches("<li").count()
    };
    assert_eq!((rows(&[]), rows(&["--top", "7"])), (5, 7));
}
