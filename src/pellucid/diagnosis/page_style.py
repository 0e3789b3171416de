"""The diagnosis page's style: one block, every rule under `.pld`, so that it disturbs no host."""

STYLE = """
.pld{--ink:#15212b;--soft:#566573;--hair:#dfe5ea;--wash:#f4f7f9;--good:#14785a;--bad:#a8321f;
--warn:#8a5a00;--blue:#0072b2;--orange:#d55e00;--grey:#8fa1b0;
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;
color:var(--ink);background:#fff;max-width:64rem;font-variant-numeric:tabular-nums;
overflow-wrap:break-word;container-type:inline-size}
.pld *{box-sizing:border-box}
.pld h3{font-size:1.06em;font-weight:650;margin:2em 0 .5em;color:var(--ink)}
.pld h4{font-size:1.06em;font-weight:650;margin:0;color:var(--ink)}
.pld p{margin:.35em 0;max-width:72ch}
.pld .quiet{color:var(--soft)}
.pld code,.pld pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.92em}
.pld .verdict{font-size:1.2em;line-height:1.45;padding:.8em 1.1em;max-width:none;margin:0;
border-left:5px solid var(--bad);background:#fcf4f2;border-radius:0 8px 8px 0}
.pld .verdict.ok{border-color:var(--good);background:#f0f8f4}
.pld .verdict.wait{border-color:#c08a1e;background:#fdf8ec}
.pld .at-a-glance{margin:.7em 0 0;color:var(--soft);max-width:none}
.pld .at-a-glance b{color:var(--ink);font-weight:600}
.pld .rows{display:grid;grid-template-columns:minmax(8em,max-content) minmax(8em,1fr) max-content;
gap:.3em .9em;align-items:center;margin:.5em 0}
.pld .row{display:contents}
.pld .rows .name{max-width:22em}
.pld .rows .name small{display:block;color:var(--soft);font-size:.85em;line-height:1.3}
.pld .rows .number{text-align:right;white-space:nowrap}
.pld .track{position:relative;height:18px;background:linear-gradient(var(--hair),var(--hair))
0 50%/100% 1px no-repeat}
.pld .track i{position:absolute;top:1px;height:16px;min-width:2px;border-radius:2px;
background:var(--grey)}
.pld .track i.own{background:var(--orange)}.pld .track i.gain{background:var(--blue)}
.pld .track i.loss{background:var(--bad)}.pld .track i.more{border-radius:2px 0 0 2px;
background:linear-gradient(90deg,var(--grey) 88%,transparent)}
.pld .track u{position:absolute;top:-6px;bottom:-6px;width:0;border-left:1px solid var(--grey)}
.pld .own-name{font-weight:650}
.pld .finding{border:1px solid var(--hair);border-radius:8px;padding:1em 1.2em;margin:.8em 0}
.pld .finding>header{display:flex;flex-wrap:wrap;gap:.3em 1em;align-items:baseline;
justify-content:space-between;margin:0;padding:0;max-width:none}
.pld .meter{color:var(--soft);white-space:nowrap}
.pld .meter span{display:inline-block;position:relative;width:4.5em;height:.5em;
margin:0 .5em 0 .3em;background:var(--hair);border-radius:1em;overflow:hidden;vertical-align:.08em}
.pld .meter span i{position:absolute;inset:0 auto 0 0;background:var(--bad)}
.pld .maybe .meter span i{background:var(--grey)}
.pld table.numbers{border-collapse:collapse;width:100%;margin:.7em 0}
.pld table.numbers th,.pld table.numbers td{padding:.3em 1em .3em 0;text-align:left;
vertical-align:top;font-weight:400;border:0;border-top:1px solid var(--hair);background:none}
.pld table.numbers thead th{border:0;color:var(--soft);font-size:.88em}
.pld table.numbers td.n,.pld table.numbers th.n{text-align:right;padding-right:1.6em}
.pld table.numbers td.n b{font-weight:600}
.pld table.numbers td.n span{white-space:nowrap}
.pld .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));
gap:.6em 1.2em;margin:.8em 0}
.pld .plots svg{width:100%;max-width:32rem;height:auto;display:block}
.pld .treatment{background:var(--wash);border-radius:6px;padding:.7em 1em;margin:.8em 0 0}
.pld .treatment p:first-child{margin-top:0}
.pld .diff{margin:.6em 0;padding:.5em 0;background:#fff;border:1px solid var(--hair);
border-radius:5px;line-height:1.5;overflow-x:auto;white-space:pre;color:var(--ink)}
.pld .diff span{display:block;padding:0 .9em}
.pld .diff .plus{background:#e7f5ee;color:#0d5c44}.pld .diff .head{color:var(--soft)}
.pld .proof{margin:.7em 0 0;padding-left:.9em;border-left:3px solid var(--grey)}
.pld .proof.confirmed{border-color:var(--good)}.pld .proof.refuted{border-color:var(--bad)}
.pld dl.rivals{margin:.7em 0 0;display:grid;grid-template-columns:max-content 1fr;gap:.15em 1em}
.pld dl.rivals dt{color:var(--soft);text-decoration:line-through;
text-decoration-color:var(--grey)}
.pld dl.rivals dd{margin:0}
.pld details{margin:.7em 0 0}.pld summary{cursor:pointer;color:var(--soft)}
.pld summary b{color:var(--ink);font-weight:600}
.pld .not-tested{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1.2em;margin:.6em 0}
.pld .not-tested dd{margin:0;color:var(--soft)}
.pld ul{padding-left:1.2em;margin:.5em 0}
@container (max-width:34rem){
.pld .rows{display:block}
.pld .row{display:grid;grid-template:"name number" "track track"/1fr max-content;gap:.1em .8em;
margin:0 0 .6em}
.pld .row .name{grid-area:name;max-width:none}.pld .row .number{grid-area:number}
.pld .row .track{grid-area:track}
.pld .finding{padding:.8em .8em}
.pld .numbers thead{display:none}.pld .numbers tr{display:block;padding:.35em 0;
border-top:1px solid var(--hair)}
.pld table.numbers td,.pld table.numbers th,.pld table.numbers td.n{display:block;border:0;
padding:0;text-align:left}
.pld .numbers td:last-child::before{content:"healthy: "}
.pld dl.rivals,.pld .not-tested{grid-template-columns:1fr}
.pld dl.rivals dd,.pld .not-tested dd{margin:0 0 .4em}}
@media print{.pld{max-width:none;font-size:11px}
.pld *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.pld .finding,.pld .plots svg,.pld .rows,.pld .treatment{break-inside:avoid}
.pld h3{break-after:avoid}}
"""
