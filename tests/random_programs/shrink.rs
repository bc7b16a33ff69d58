//! Makes a failing program smaller while it still fails.
//!
//! Each edit has a number, its position in the list of all edits of a program. A seed and a few of
//! these numbers describe a small program, so it can be run again.

use crate::program::{Ending, Inside, Kind, Node, Program, Word};
use std::rc::Rc;

/// Makes a smaller program.
type Edit = Box<dyn Fn(&Program) -> Program>;

/// All edits of a program, roughly from the largest to the smallest.
fn edits(program: &Program) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    for nth in 0..program.tasks.len() {
        if program.tasks.len() > 1 {
            edits.push(Box::new(move |program| {
                let mut program = program.clone();
                program.tasks.remove(nth);
                program
            }));
        }
    }
    // Halves of the script. Its lines follow with the other nodes.
    for (begin, end) in [(0, program.script.len() / 2), (program.script.len() / 2, program.script.len())] {
        if end > begin + 1 {
            edits.push(Box::new(move |program| {
                let mut program = program.clone();
                program.script.drain(begin..end);
                program
            }));
        }
    }
    let mut nodes = Vec::new();
    let mut collect = |roots: &[Rc<Node>], may_go| {
        roots.iter().for_each(|node| list(node, may_go, false, &mut nodes));
    };
    collect(&program.tasks, false);
    collect(&program.script, true);
    for place in nodes {
        edits_of(&place, &mut edits);
    }
    if program.ending != Ending::Orderly {
        edits.push(Box::new(|program| Program { ending: Ending::Orderly, ..program.clone() }));
    }
    let smaller = match program.ending {
        Ending::Orderly | Ending::Stuck => None,
        Ending::Leave(pause) => (pause > 0).then_some(Ending::Leave(pause / 2)),
        Ending::Drop(turns) => (turns > 0).then(|| Ending::Drop(turns - 1)),
    };
    if let Some(ending) = smaller {
        edits.push(Box::new(move |program| Program { ending, ..program.clone() }));
    }
    if program.handler > 0 {
        let handler = program.handler - 1;
        edits.push(Box::new(move |program| Program { handler, ..program.clone() }));
    }
    edits
}

/// A node in its position.
struct Place {
    node: Rc<Node>,
    /// Whether the position may be removed.
    may_go: bool,
    /// Whether the position may hold both futures and acts.
    takes_both: bool,
}

/// Lists a node and all nodes inside.
fn list(node: &Rc<Node>, may_go: bool, takes_both: bool, places: &mut Vec<Place>) {
    places.push(Place { node: node.clone(), may_go, takes_both });
    let inside = node.word.spec().inside;
    let least = match inside {
        Inside::Nothing => 0,
        Inside::Futures(least, _) | Inside::Acts(least, _) | Inside::Statements(least, _) => least,
        Inside::FutureAndActs(_) => 1,
    };
    for (nth, inner) in node.inside.iter().enumerate() {
        let is_in_list = nth > 0 || !matches!(inside, Inside::FutureAndActs(_));
        let takes_both = matches!(inside, Inside::Statements(..));
        list(inner, is_in_list && node.inside.len() > least, takes_both, places);
    }
}

fn edits_of(Place { node, may_go, takes_both }: &Place, edits: &mut Vec<Edit>) {
    let id = node.id;
    let mut replace = |with: Vec<Rc<Node>>| edits.push(Box::new(move |program| replaced(program, id, &with)));
    if *may_go {
        replace(Vec::new());
    }
    let is_simple = matches!(node.word, Word::Yield | Word::Ready | Word::Turns);
    if node.kind() == Kind::Future && !is_simple {
        replace(vec![Node::leaf(Word::Yield, 0)]);
    }
    // An inner node replaces the node.
    for inside in &node.inside {
        if inside.kind() == node.kind() || *takes_both {
            replace(vec![inside.clone()]);
        }
    }
    if node.word == Word::Block && node.inside.len() > 2 {
        for half in [&node.inside[..node.inside.len() / 2], &node.inside[node.inside.len() / 2..]] {
            replace(vec![Rc::new(Node { inside: half.to_vec(), ..(**node).clone() })]);
        }
    }
    if node.kind() == Kind::Future && !is_simple && node.inside.is_empty() && node.word != Word::ForEver {
        replace(vec![Node::leaf(Word::Yield, 1)]);
        replace(vec![Node::leaf(Word::ForEver, 0)]);
    }
    if node.word == Word::Pause {
        replace(vec![Node::leaf(Word::Turns, 1)]);
        replace(vec![Node::leaf(Word::Turns, 3)]);
    }
    for (nth, &number) in node.numbers.iter().enumerate() {
        let mut smaller = vec![0, 1, number / 2, number.saturating_sub(1)];
        smaller.retain(|&other| other < number);
        smaller.dedup();
        for other in smaller {
            let mut numbers = node.numbers;
            numbers[nth] = other;
            replace(vec![Rc::new(Node { numbers, ..(**node).clone() })]);
        }
    }
}

fn replaced(program: &Program, id: usize, with: &[Rc<Node>]) -> Program {
    fn all(nodes: &[Rc<Node>], id: usize, with: &[Rc<Node>]) -> Vec<Rc<Node>> {
        let one = |node: &Rc<Node>| {
            if node.id == id {
                return with.to_vec();
            }
            vec![Rc::new(Node { inside: all(&node.inside, id, with), ..(**node).clone() })]
        };
        nodes.iter().flat_map(one).collect()
    }
    Program { tasks: all(&program.tasks, id, with), script: all(&program.script, id, with), ..program.clone() }
}

/// A program after some edits.
pub(crate) fn edited(mut program: Program, numbers: &[usize]) -> Program {
    for &number in numbers {
        let mut all = edits(&program);
        assert!(number < all.len(), "there are {} edits, and number {number} is not one of them", all.len());
        program = all.swap_remove(number)(&program).numbered();
    }
    program
}

/// Finds edits after which a program still fails. Stops if no further edit makes it fail, or if the
/// time is up.
pub(crate) fn shrink(
    program: &Program,
    mut fails: impl FnMut(&Program, &[usize]) -> bool,
    mut has_time: impl FnMut() -> bool,
) -> Vec<usize> {
    let mut done = Vec::new();
    let mut program = program.clone();
    let mut from = 0;
    let mut failed = 0;
    loop {
        let all = edits(&program);
        // The search continues at the place of the last edit that it found. It ends after a whole
        // round without one.
        let Some(number) = (failed < all.len()).then(|| from % all.len()) else { return done };
        if !has_time() {
            return done;
        }
        let smaller = all[number](&program).numbered();
        done.push(number);
        if smaller != program && fails(&smaller, &done) {
            program = smaller;
            failed = 0;
            from = number;
        } else {
            done.pop();
            failed += 1;
            from = number + 1;
        }
    }
}

/// Only the words that make the program fail are left.
#[test]
fn shrink_to_what_fails() {
    fn has(nodes: &[Rc<Node>], word: Word) -> bool {
        nodes.iter().any(|node| node.word == word || has(&node.inside, word))
    }
    let mut shrunk = 0;
    for seed in 0..100 {
        let program = Program::from_seed(seed, &[]);
        let fails = |program: &Program| has(&program.tasks, Word::Finally) && has(&program.script, Word::Cancel);
        if !fails(&program) {
            continue;
        }
        let numbers = shrink(&program, |program, _| fails(program), || true);
        let small = edited(program, &numbers);
        // A `ready` is as small as a `yields`, so either may be left.
        assert_eq!(
            small.to_string().replace("ready()", "yields(0)"),
            "    task 0: finally(yields(0), yields(0))\n    main: cancel(0)\n    ending: Orderly"
        );
        shrunk += 1;
    }
    assert!(shrunk > 5, "{shrunk} programs had both");
}
