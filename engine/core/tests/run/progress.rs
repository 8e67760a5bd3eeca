//! How far a run is.

use crate::stage::check;

#[test]
fn leaves_are_counted_where_they_are_known() {
    check(
        "steps: { l: { outputs: { l: list }, run: ':' }, f: { foreach: { items: '{{ steps.l.outputs.l }}' }, tree: ./sub.yaml }, \
         n: { needs: f, tree: ./sub.yaml } }\n---\nsteps: { p: { run: ':' }, q: { needs: p, run: ':' } }",
        "far\nbegin\nfar\nl ok {\"l\":[\"x\",\"y\",\"z\"]}\nfar\nf[x]/p ok\nf[y]/p fail 77\nf[z]/p fail 1\nf[x]/q ok\nfar",
        "0/0/0\nl:started#1 > l#1 action\n0/0/5\n\
         l:ok f:expanded f[z]:started#1 f[y]:started#1 f[x]:started#1 f[z]/p:started#1 f[y]/p:started#1 f[x]/p:started#1 \
         > f[z]/p#1 action, f[y]/p#1 action, f[x]/p#1 action\n1/0/9\n\
         f[x]/p:ok f[x]/q:started#1 > f[x]/q#1 action\nf[y]/p:skipped#1 f[y]/q:skipped f[y]:ok\n\
         f[z]/p:failed#1 f[z]/q:blocked f[z]:failed#1\nf[x]/q:ok f[x]:ok f:failed n:blocked =failed\n5/4/9",
    );
}

#[test]
fn what_is_left_out_takes_its_leaves_with_it() {
    check(
        "steps: { a: { run: ':' }, s: { needs: a, if: 'false', tree: ./sub.yaml }, b: { needs: a, tree: ./sub.yaml } }\n---\n\
         steps: { p: { run: ':' }, q: { needs: p, run: ':' } }",
        "begin\na fail 1\nfar",
        "a:started#1 > a#1 action\na:failed#1 s:blocked b:blocked =failed\n0/5/5",
    );
}
