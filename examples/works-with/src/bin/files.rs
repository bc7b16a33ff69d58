//! Files: by `to_thread`, and by the crate async-fs.
//!
//! Operating systems have no readiness for files, so both ways use threads; they share one pool, that
//! of the crate blocking. `to_thread` moves a whole piece of work with one trip to a thread. async-fs
//! makes a trip for each operation, such as an open, a read of a full buffer or a rename, and its
//! files have futures-io's traits. So use `to_thread` for whole files and for many of them, and
//! async-fs for a large file that is read in pieces, beside sockets.
//!
//! `cargo run --bin files`, in `examples/works-with`.

use futures_util::io::BufReader;
use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt};
use onelane::net::UnixStream;
use onelane::{EventLoop, gather, spawn, to_thread};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// Counts the lines of each file of a folder: one trip to a thread for all.
fn count_lines(folder: &Path) -> io::Result<Vec<usize>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.iter().map(|file| Ok(fs::read_to_string(file)?.lines().count())).collect()
}

fn main() -> io::Result<()> {
    let folder = env::temp_dir().join(format!("onelane-files-{}", process::id()));
    let result = EventLoop::new().run(async {
        // By to_thread. Paths are moved into the function.
        let path = folder.clone();
        to_thread(move || {
            fs::create_dir(&path)?;
            (1..=3).try_for_each(|nth| fs::write(path.join(format!("{nth}.txt")), "line\n".repeat(nth)))
        })
        .await??;
        let path = folder.clone();
        assert_eq!(to_thread(move || count_lines(&path)).await??, [1, 2, 3]);

        // By async-fs: each operation is a future. Several files are read at once, on several threads.
        let names = (1..=3).map(|nth| folder.join(format!("{nth}.txt")));
        let texts = gather(names.map(|name| async { async_fs::read_to_string(name).await })).await.unwrap();
        assert_eq!(texts.into_iter().map(|text| text.unwrap().len()).collect::<Vec<_>>(), [5, 10, 15]);

        // A file that is copied to a socket, piece by piece.
        let large = folder.join("large");
        async_fs::write(&large, vec![7; 1_000_000]).await?;
        let (mut ours, mut theirs) = UnixStream::pair()?;
        let sending = spawn(async move {
            let file = async_fs::File::open(large).await?;
            let count = futures_util::io::copy(file, &mut ours).await?;
            ours.close().await.map(|()| count)
        });
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await?;
        assert_eq!((sending.await.unwrap()?, received.len()), (1_000_000, 1_000_000));

        // A file that is written and read in lines. `flush` waits until all is written: async-fs
        // writes behind the caller's back, and a file that is dropped may lose the rest.
        let log = folder.join("log");
        let mut file = async_fs::File::create(&log).await?;
        for nth in 0..100 {
            file.write_all(format!("entry {nth}\n").as_bytes()).await?;
        }
        file.flush().await?;
        let mut lines = BufReader::new(async_fs::File::open(&log).await?).lines();
        let mut count = 0;
        while let Some(line) = lines.next().await {
            assert_eq!(line?, format!("entry {count}"));
            count += 1;
        }
        assert_eq!(count, 100);
        io::Result::Ok(())
    });
    fs::remove_dir_all(&folder)?;
    println!("files: by to_thread, and by async-fs");
    result
}
