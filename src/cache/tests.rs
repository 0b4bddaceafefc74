use super::*;
use crate::world::Random;
use rusqlite::{Error, params};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

const DIM: usize = 64;

/// What a cache told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn open(&self, folder: &Path) -> ModelEmbeddings {
        self.open_with(folder, DEFAULT_LIMIT_BYTES)
    }

    fn open_with(&self, folder: &Path, limit_bytes: u64) -> ModelEmbeddings {
        self.cache(folder, limit_bytes).of_model("tiny", DIM, space("f32"))
    }

    fn cache(&self, folder: &Path, limit_bytes: u64) -> EmbeddingCache {
        let told = self.0.clone();
        EmbeddingCache::open(folder, limit_bytes, move |text| told.lock().unwrap().push(text.to_owned()))
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// That one thing was told, and that it was this.
    #[track_caller]
    fn assert_once(&self, part: &str) {
        let told = self.all();
        assert!(told.len() == 1 && told[0].contains(part), "expected {part:?} once, but was told {told:?}");
    }
}

fn space(precision: &str) -> SpaceKey {
    SpaceKey::new().field("precision", precision)
}

fn open_cache(folder: &Path) -> EmbeddingCache {
    EmbeddingCache::open(folder, DEFAULT_LIMIT_BYTES, |text| panic!("told: {text}"))
}

fn open(folder: &Path) -> ModelEmbeddings {
    open_cache(folder).of_model("tiny", DIM, space("f32"))
}

/// The encoded bytes of the `i`-th image, and its embedding.
fn image(i: usize) -> (ImageKey, Vec<f32>) {
    let embedding = (0..DIM).map(|d| ((i * DIM + d) as f32 * 0.37).sin() / 3.0).collect();
    (ImageKey::of_bytes(format!("image {i}").as_bytes()), embedding)
}

fn keep_images(cache: &ModelEmbeddings, range: std::ops::Range<usize>) {
    for i in range {
        let (key, embedding) = image(i);
        cache.keep_image(&key, &embedding);
    }
}

/// How many of the images are known; those that are must be right.
#[track_caller]
fn count_known(cache: &ModelEmbeddings, range: std::ops::Range<usize>) -> usize {
    let (keys, embeddings): (Vec<_>, Vec<_>) = range.map(image).unzip();
    let known = cache.images(&keys);
    for (known, embedding) in known.iter().zip(&embeddings) {
        assert!(known.as_ref().is_none_or(|known| known == embedding));
    }
    known.iter().flatten().count()
}

fn folder_with_images(count: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    keep_images(&open(folder.path()), 0..count);
    folder
}

fn database(folder: &Path) -> PathBuf {
    folder.join("embeddings.sqlite")
}

/// Changes the database behind the cache's back; all of it is in the one file then.
fn with_database(folder: &Path, sql: &str) {
    let connection = Connection::open(database(folder)).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    connection.execute_batch(sql).unwrap();
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn embeddings_come_back_in_the_next_run_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let mut embedding = image(7).1;
    embedding[..4].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 8.0, 1.0 / 3.0, -1.0]);
    let key = ImageKey::of_bytes(b"bytes");
    let cache = open(folder.path());
    assert_eq!(cache.images(std::slice::from_ref(&key)), [None]);
    assert_eq!(cache.prompts(&["a cat"]), [None]);
    cache.keep_image(&key, &embedding);
    cache.keep_prompt("a cat", &embedding, false);
    cache.keep_prompt("a long tail", &image(8).1, true);
    drop(cache);

    let cache = open(folder.path());
    let known = cache.images(&[ImageKey::of_bytes(b"other"), key]);
    assert_eq!(known[0], None);
    assert_eq!(bits(known[1].as_ref().unwrap()), bits(&embedding));
    let known = cache.prompts(&["a long tail", "a dog", "a cat"]);
    assert_eq!(known[0], Some(KnownPrompt { embedding: image(8).1, truncated: true }));
    assert_eq!(known[1], None);
    assert_eq!(bits(&known[2].as_ref().unwrap().embedding), bits(&embedding));
    assert!(!known[2].as_ref().unwrap().truncated);
}

#[test]
fn file_is_known_without_being_read_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let write = |bytes: &str| {
        fs::write(&path, bytes).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    };
    write("encoded");
    let cache = open(&folder.path().join("cache"));
    let key = ImageKey::of_file(&path);
    assert_eq!(cache.images(std::slice::from_ref(&key)), [None]);
    cache.keep_image(&key, &image(0).1);
    cache.keep_image(&key.with_bytes(b"encoded"), &image(1).1);
    drop(cache);

    let cache = open(&folder.path().join("cache"));
    assert_eq!(cache.images(&[ImageKey::of_file(&path)]), [Some(image(1).1)]);
    write("changed");
    assert_eq!(cache.images(&[ImageKey::of_file(&path)]), [None]);
    write("encoded");
    assert_eq!(cache.images(&[ImageKey::of_file(&path).with_bytes(b"encoded")]), [Some(image(1).1)]);
    drop(cache);
    // Found by its content above, it is known by its file again.
    let cache = open(&folder.path().join("cache"));
    assert_eq!(cache.images(&[ImageKey::of_file(&path)]), [Some(image(1).1)]);
}

#[test]
fn another_space_or_width_finds_nothing() {
    let folder = folder_with_images(1);
    for (name, dim, key, known) in [
        ("tiny", DIM, space("f32"), 1),
        ("renamed", DIM, space("f32"), 1),
        ("tiny", DIM, space("int8"), 0),
        ("tiny", DIM, SpaceKey::new(), 0),
        ("tiny", DIM / 2, space("f32"), 0),
    ] {
        let cache = open_cache(folder.path()).of_model(name, dim, key);
        assert_eq!(count_known(&cache, 0..1), known, "{name} {dim}");
    }
}

/// An open file that changed long enough ago.
fn settled_file(path: &Path, content: &str) -> File {
    fs::write(path, content).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    file
}

fn unread() -> std::io::Result<[u8; 32]> {
    panic!("the file was read")
}

#[test]
fn digest_of_an_unchanged_file_is_computed_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let database = folder.path().join("cache");
    let file = settled_file(&path, "weights");
    assert_eq!(open_cache(&database).digest(&file, &path, || Ok([1; 32])).unwrap(), [1; 32]);
    assert_eq!(open_cache(&database).digest(&file, &path, unread).unwrap(), [1; 32]);
    // Written to, or another file by that name.
    let file = settled_file(&path, "weights, changed");
    assert_eq!(open_cache(&database).digest(&file, &path, || Ok([2; 32])).unwrap(), [2; 32]);
    let other = settled_file(&folder.path().join("other"), "weights, changed");
    assert_eq!(open_cache(&database).digest(&other, &path, || Ok([3; 32])).unwrap(), [3; 32]);
    assert_eq!(open_cache(&database).digest(&file, &path, unread).unwrap(), [2; 32]);
    assert_eq!(EmbeddingCache::off().digest(&file, &path, || Ok([4; 32])).unwrap(), [4; 32]);
}

#[test]
fn digest_of_a_file_that_is_written_to_meanwhile_or_just_was_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let database = folder.path().join("cache");
    let file = settled_file(&path, "weights");
    let write = || {
        settled_file(&path, "weights, changed");
        Ok([1; 32])
    };
    assert_eq!(open_cache(&database).digest(&file, &path, write).unwrap(), [1; 32]);
    assert_eq!(open_cache(&database).digest(&file, &path, || Ok([2; 32])).unwrap(), [2; 32]);
    fs::write(&path, "weights, changed again").unwrap();
    for digest in [[3; 32], [4; 32]] {
        assert_eq!(open_cache(&database).digest(&file, &path, || Ok(digest)).unwrap(), digest);
    }
}

#[test]
fn digest_that_cannot_be_computed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let file = settled_file(&path, "weights");
    let broken = || Err(std::io::Error::other("broken disk"));
    let error = open_cache(&folder.path().join("cache")).digest(&file, &path, broken).unwrap_err();
    assert_eq!(error.to_string(), "broken disk");
}

#[test]
fn flipped_bit_or_swapped_row_is_told_once_and_counts_as_absent() {
    for damage in [
        "UPDATE embedding SET bytes = CAST(zeroblob(4) || substr(bytes, 5) AS BLOB) WHERE id = 3;
         UPDATE embedding SET bytes = substr(bytes, 5) WHERE id = 4;",
        "UPDATE image SET embedding = 11 - embedding WHERE embedding IN (5, 6);",
        "UPDATE embedding SET bytes = 'text' WHERE id = 3; UPDATE image SET checksum = NULL WHERE embedding = 4;",
    ] {
        let folder = folder_with_images(10);
        with_database(folder.path(), damage);
        let told = Told::default();
        let cache = told.open(folder.path());
        assert_eq!(count_known(&cache, 0..10), 8);
        assert_eq!(count_known(&cache, 0..10), 8);
        told.assert_once("changed on the disk");
        keep_images(&cache, 0..10);
        drop(cache);
        assert_eq!(count_known(&open(folder.path()), 0..10), 10);
    }
}

#[test]
fn damaged_database_is_told_of_and_made_anew() {
    let garbage = |path: &Path| {
        with_database(path.parent().unwrap(), "");
        fs::write(path, "not a database, but long enough to be one: ".repeat(500)).unwrap();
    };
    let tables = |path: &Path| with_database(path.parent().unwrap(), "DROP TABLE image;");
    let cut = |path: &Path| {
        with_database(path.parent().unwrap(), "");
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    for damage in [&garbage as &dyn Fn(&Path), &tables, &cut] {
        let folder = folder_with_images(1000);
        damage(&database(folder.path()));
        let told = Told::default();
        let cache = told.open(folder.path());
        assert!(count_known(&cache, 0..1000) < 1000);
        drop(cache);
        told.assert_once("damaged");

        let cache = open(folder.path());
        keep_images(&cache, 0..1000);
        drop(cache);
        assert_eq!(count_known(&open(folder.path()), 0..1000), 1000);
    }
}

#[test]
fn no_damage_anywhere_in_the_file_falsifies_an_answer() {
    let folder = folder_with_images(300);
    with_database(folder.path(), "");
    let intact = fs::read(database(folder.path())).unwrap();
    let mut random = Random(1);
    let mut next = |below: usize| random.below(below);
    let mut lost = 0;
    for round in 0..60 {
        let mut bytes = intact.clone();
        // The header first, then anywhere; single bits and whole stretches.
        for _ in 0..1 + round % 8 {
            let start = if round < 20 { next(200) } else { next(bytes.len()) };
            let len = [1, 16, 4096][round % 3].min(bytes.len() - start);
            bytes[start..start + len].iter_mut().for_each(|byte| *byte ^= 1 << next(8));
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(database(folder.path()), bytes).unwrap();
        let told = Told::default();
        let cache = told.open(folder.path());
        let known = count_known(&cache, 0..300);
        keep_images(&cache, 0..300);
        drop(cache);
        let cache = told.open(folder.path());
        count_known(&cache, 0..300);
        lost += 300 - known;
        assert!(known == 300 || !told.all().is_empty() || known > 0, "all was lost without a word");
    }
    assert!(lost > 0, "nothing was damaged");
}

#[test]
fn newer_format_and_another_programs_database_are_left_alone() {
    for (change, told_of) in [
        ("PRAGMA user_version = 1000;", "newer clipclass"),
        ("PRAGMA application_id = 7;", "not clipclass's"),
    ] {
        let folder = folder_with_images(3);
        with_database(folder.path(), change);
        let before = fs::read(database(folder.path())).unwrap();
        let told = Told::default();
        let cache = told.open(folder.path());
        told.assert_once(told_of);
        keep_images(&cache, 0..9);
        assert_eq!(count_known(&cache, 0..9), 0);
        drop(cache);
        assert_eq!(fs::read(database(folder.path())).unwrap(), before);
    }
}

#[test]
fn older_format_is_made_anew() {
    let folder = folder_with_images(3);
    with_database(folder.path(), "PRAGMA user_version = 0;");
    let cache = open(folder.path());
    assert_eq!(count_known(&cache, 0..3), 0);
    keep_images(&cache, 0..3);
    drop(cache);
    assert_eq!(count_known(&open(folder.path()), 0..3), 3);
}

#[test]
fn folder_that_cannot_be_written_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let occupied = folder.path().join("occupied");
    fs::create_dir_all(database(&occupied)).unwrap();
    for path in [&file, &file.join("below"), &occupied] {
        let told = Told::default();
        let cache = told.open(path);
        told.assert_once("running without the embedding cache: cannot");
        keep_images(&cache, 0..3);
        assert_eq!(count_known(&cache, 0..3), 0);
    }
}

#[test]
fn full_disk_is_told_once_and_what_is_known_stays_known() {
    let folder = folder_with_images(100);
    let told = Told::default();
    let cache = told.open(folder.path());
    let state = cache.state.as_ref().unwrap();
    state.writer.get_or_init(|| {
        let connection = state.folder.connect().unwrap();
        connection.execute_batch("PRAGMA max_page_count = 1;").unwrap();
        Some(CacheWriter::start(connection, u64::MAX, state.troubles.clone()).unwrap())
    });
    keep_images(&cache, 100..3000);
    assert_eq!(count_known(&cache, 0..100), 100);
    drop(cache);
    told.assert_once("full");
    assert_eq!(count_known(&open(folder.path()), 0..100), 100);
}

#[test]
fn database_locked_for_too_long_is_read_but_not_written() {
    let folder = folder_with_images(10);
    let other = Connection::open(database(folder.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE;").unwrap();
    let told = Told::default();
    let cache = told.open(folder.path());
    keep_images(&cache, 10..20);
    assert_eq!(count_known(&cache, 0..20), 10);
    drop(cache);
    told.assert_once("locked");
}

#[test]
fn folder_locked_for_too_long_is_not_used() {
    let folder = folder_with_images(10);
    let lock = File::open(folder.path().join("embeddings.lock")).unwrap();
    lock.lock().unwrap();
    let told = Told::default();
    assert_eq!(count_known(&told.open(folder.path()), 0..10), 0);
    told.assert_once("another clipclass");
}

#[test]
fn database_damaged_while_others_use_it_is_not_removed_under_them() {
    let folder = folder_with_images(10);
    let other = open(folder.path());
    let told = Told::default();
    let cache = told.open(folder.path());
    cache.state.as_ref().unwrap().troubles.reading_failed(&Error::InvalidQuery);
    assert_eq!(count_known(&cache, 0..10), 0);
    drop(cache);
    told.assert_once("damaged");
    assert_eq!(count_known(&other, 0..10), 10);
}

#[test]
fn many_caches_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for worker in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                let cache = open(folder);
                let start = worker * 500;
                for i in (start..start + 1000).step_by(100) {
                    count_known(&cache, i..i + 100);
                    keep_images(&cache, i..i + 100);
                    cache.keep_prompt(&format!("prompt {}", i % 300), &image(i % 300).1, false);
                }
            });
        }
    });
    let cache = open(folder.path());
    assert_eq!(count_known(&cache, 0..4500), 4500);
    assert_eq!(cache.prompts(&["prompt 200"])[0].as_ref().unwrap().embedding, image(200).1);
}

#[test]
fn least_recently_used_goes_when_the_limit_is_reached() {
    const LIMIT: u64 = 1 << 20;
    let folder = folder_with_images(1500);
    with_database(folder.path(), "UPDATE image SET used = used - 2;");
    let open = || Told::default().open_with(folder.path(), LIMIT);
    // Used today again.
    assert_eq!(count_known(&open(), 0..200), 200);
    let (mut held, mut end) = (1500, 1500);
    while holdings(folder.path()).unwrap().images >= held {
        held = holdings(folder.path()).unwrap().images;
        keep_images(&open(), end..end + 256);
        end += 256;
        assert!(end < 100_000, "nothing went");
    }
    assert_eq!(count_known(&open(), 0..200), 200);
    assert!(count_known(&open(), 200..1500) < 1300);
    assert_eq!(count_known(&open(), 1500..end), end - 1500);

    keep_images(&open(), end..end + 20_000);
    assert_eq!(count_known(&open(), end + 19_000..end + 20_000), 1000);
    with_database(folder.path(), "");
    assert!(database(folder.path()).metadata().unwrap().len() <= LIMIT);
}

#[test]
fn lowered_limit_shrinks_the_file() {
    let folder = folder_with_images(20_000);
    let cache = Told::default().open_with(folder.path(), 1 << 20);
    keep_images(&cache, 20_000..20_001);
    drop(cache);
    assert_eq!(count_known(&open(folder.path()), 20_000..20_001), 1);
    with_database(folder.path(), "");
    assert!(database(folder.path()).metadata().unwrap().len() <= 1 << 20);
}

#[test]
fn use_is_noted_once_a_day() {
    let folder = folder_with_images(3);
    with_database(folder.path(), "UPDATE image SET used = used - 3 WHERE embedding < 3;");
    let oldest = || -> i64 {
        let connection = Connection::open(database(folder.path())).unwrap();
        connection.query_row("SELECT max(used) - min(used) FROM image", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(oldest(), 3);
    let cache = open(folder.path());
    assert_eq!(count_known(&cache, 0..3), 3);
    drop(cache);
    assert_eq!(oldest(), 0);
    let cache = open(folder.path());
    assert_eq!(count_known(&cache, 0..3), 3);
    assert!(cache.state.as_ref().unwrap().writer.get().is_none(), "a known image was written again");
}

#[test]
fn holdings_count_what_is_kept_and_clear_removes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    assert_eq!(holdings(&path).unwrap(), Holdings { bytes: 0, images: 0, prompts: 0, models: 0 });
    assert!(!path.exists());

    let cache = open(&path);
    keep_images(&cache, 0..30);
    cache.keep_prompt("a cat", &image(0).1, false);
    drop(cache);
    keep_images(&open_cache(&path).of_model("tiny", DIM, space("int8")), 0..5);
    let held = holdings(&path).unwrap();
    assert_eq!((held.images, held.prompts, held.models), (35, 1, 2));
    assert!(held.bytes > 35 * DIM as u64 * 4);

    let in_use = open(&path);
    let error = format!("{:#}", clear(&path).unwrap_err());
    assert!(error.contains("another clipclass is using it"), "{error}");
    drop(in_use);
    assert_eq!(clear(&path).unwrap(), held.bytes);
    assert_eq!(holdings(&path).unwrap().images, 0);
    with_database_of_a_newer_clipclass(&path);
    clear(&path).unwrap();
    assert_eq!(count_known(&open(&path), 0..30), 0);
}

fn with_database_of_a_newer_clipclass(folder: &Path) {
    drop(open(folder));
    with_database(folder, "PRAGMA user_version = 1000;");
}

const KILLED_FOLDER: &str = "CLIPCLASS_TEST_CACHE";

#[test]
#[ignore = "run, and killed, by the next test"]
fn writer_without_end() {
    let Some(folder) = std::env::var_os(KILLED_FOLDER) else { return };
    let cache = open(Path::new(&folder));
    for i in (0..).step_by(10) {
        count_known(&cache, i..i + 10);
        keep_images(&cache, i..i + 10);
    }
}

#[test]
fn killed_processes_lose_little_and_damage_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut known = 0;
    for round in 0..6 {
        let start = || {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "cache::tests::writer_without_end"])
                .env(KILLED_FOLDER, folder.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut processes = [start(), start(), start()];
        // Killed at once in some rounds, and in others when something new was kept.
        let patience = Instant::now() + Duration::from_secs(60);
        while round % 2 == 1 && holdings(folder.path()).map_or(0, |held| held.images) <= known {
            assert!(Instant::now() < patience, "nothing was kept");
            thread::sleep(Duration::from_millis(7));
        }
        thread::sleep(Duration::from_millis(13 * round));
        for process in &mut processes {
            process.kill().unwrap();
        }
        for process in &mut processes {
            process.wait().unwrap();
        }
        let cache = open(folder.path());
        let now_known = count_known(&cache, 0..known as usize);
        assert_eq!(now_known as u64, known, "what was kept is gone");
        drop(cache);
        known = holdings(folder.path()).unwrap().images;
        assert_eq!(count_known(&open(folder.path()), 0..known as usize) as u64, known);
    }
    let connection = Connection::open(database(folder.path())).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let orphans = "SELECT count(*) FROM embedding WHERE id NOT IN (SELECT embedding FROM image)";
    assert_eq!(connection.query_row(orphans, params![], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
