/** Style of the report: system fonts, light and dark, one column on phones, plain on paper. */
export const pageStyle: string = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--text:#16181d;--soft:#5b6270;--line:#e2e5ea;--c1:#3566e8;--c2:#d9660b;--c3:#0d8463;--c4:#a8409a;--good:#0d7a53;--bad:#b3361b;--tint:#eef3ff}
@media(prefers-color-scheme:dark){:root{--bg:#0f1115;--card:#181b21;--text:#eceef2;--soft:#9aa2b1;--line:#2a2f39;--c1:#7ea1ff;--c2:#ff9d4d;--c3:#3fcf9f;--c4:#e08ad4;--good:#4ad69c;--bad:#ff8d70;--tint:#1c2538}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;-webkit-font-smoothing:antialiased}
main{max-width:1120px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:clamp(1.7rem,4vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 8px}
h2{font-size:1.25rem;letter-spacing:-.01em;margin:56px 0 4px}
p{margin:0 0 12px}.soft,small{color:var(--soft)}small{font-size:.82rem;line-height:1.4}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:12px;margin:28px 0 0;padding:0;list-style:none}
.facts li{flex:1 1 200px;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px}
.facts b{display:block;font-size:1.6rem;line-height:1.2;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.facts span{font-weight:600;font-size:.9rem}.facts small{display:block}
.good{color:var(--good)}.bad{color:var(--bad)}
.notice{background:var(--tint);border:1px solid var(--line);border-radius:12px;padding:12px 16px;margin:24px 0 0}
.notice.alarm{background:var(--card);border:2px solid var(--bad)}.notice.alarm b{color:var(--bad)}.notice ul{margin:8px 0;padding-left:20px}.notice p:last-child{margin:0}
.bar-row{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:end;gap:8px 24px;margin-bottom:16px}.bar-row p{margin:0}
.modes{display:inline-flex;border:1px solid var(--line);border-radius:10px;overflow:hidden;background:var(--card);font-size:.88rem}
.modes label{padding:6px 14px;cursor:pointer}.modes input{position:absolute;opacity:0}
.modes label:has(:checked){background:var(--c1);color:var(--card)}.modes label:has(:focus-visible){outline:2px solid var(--c2);outline-offset:-3px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:20px}
.pair{margin:0;background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden;break-inside:avoid}
.pair figcaption{padding:10px 14px 12px;font-size:.92rem;line-height:1.35}
.pair small{display:block;margin-top:4px;font-variant-numeric:tabular-nums}
.view{position:relative;display:grid;grid-template-columns:1fr 1fr;gap:2px;background:var(--line)}
.view img{display:block;width:100%;aspect-ratio:1;object-fit:cover}.view img.small{image-rendering:pixelated}
.view span{position:absolute;bottom:8px;font-size:.7rem;font-weight:600;line-height:1;padding:4px 8px;border-radius:99px;background:rgb(0 0 0/.55);color:#fff;pointer-events:none}
.view span:nth-of-type(1){left:8px}.view span:nth-of-type(2){right:8px}
.view input{display:none}
body:has(#mode-slider:checked) .view{grid-template-columns:1fr}
body:has(#mode-slider:checked) .view img{grid-area:1/1}
body:has(#mode-slider:checked) .view img+img{clip-path:inset(0 0 0 var(--cut,50%))}
body:has(#mode-slider:checked) .view::after{content:"";position:absolute;inset:0 auto 0 var(--cut,50%);width:2px;margin-left:-1px;background:#fff;box-shadow:0 0 4px rgb(0 0 0/.6);pointer-events:none}
body:has(#mode-slider:checked) .view input{display:block;position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:14px}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:10px 16px;text-align:right;border-top:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap;vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:600;font-size:.82rem}th:first-child,td:first-child{text-align:left}
tbody th{font-weight:600;white-space:normal;min-width:14em}th small{font-weight:400}.pm{color:var(--soft);font-size:.85em}
.tag{display:inline-block;font-size:.7rem;font-weight:600;color:var(--c1);border:1px solid currentColor;border-radius:99px;padding:0 7px;margin-left:8px;vertical-align:1px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px}
.chart{margin:0;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 16px 10px;break-inside:avoid}
.chart b,.chart small{display:block}.chart svg{display:block;width:100%;height:auto;margin-top:8px}
.chart text{font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
.grid{stroke:var(--line)}.axis{stroke:var(--soft);stroke-opacity:.5}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.band{fill-opacity:.16;stroke:none}.bar{stroke-width:1.5}
.line.c1,.bar.c1{stroke:var(--c1)}.line.c2,.bar.c2{stroke:var(--c2)}.line.c3,.bar.c3{stroke:var(--c3)}.line.c4,.bar.c4{stroke:var(--c4)}
.band.c1,.dot.c1{fill:var(--c1)}.band.c2,.dot.c2{fill:var(--c2)}.band.c3,.dot.c3{fill:var(--c3)}.band.c4,.dot.c4{fill:var(--c4)}
line.mark{stroke-width:1.5;stroke-dasharray:4 3}line.mark.alarm{stroke:var(--bad)}line.mark.best{stroke:var(--good)}
.chart text.mark{font-size:11px;font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}.chart text.mark.alarm{fill:var(--bad)}.chart text.mark.best{fill:var(--good)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.82rem;color:var(--soft);margin:4px 0 4px}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle}
i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}i.c4{background:var(--c4)}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px;align-items:start;margin-top:12px}
.columns td{white-space:normal;overflow-wrap:anywhere;padding:7px 16px}.columns tr:first-child td{border-top:0}
.columns td:first-child{color:var(--soft);white-space:nowrap}
footer{margin-top:56px;padding-top:16px;border-top:1px solid var(--line)}
@media print{body{background:#fff;font-size:11pt}main{max-width:none;padding:0}.modes{display:none}.gallery{grid-template-columns:repeat(3,1fr)}h2{break-after:avoid;margin-top:28px}.charts{grid-template-columns:1fr 1fr}.table,.facts li{break-inside:avoid}}
`.trim();

/** Moves the divider of a picture pair; everything else works without script. */
export const pageScript: string = `for(const r of document.querySelectorAll(".view input"))r.addEventListener("input",()=>r.parentNode.style.setProperty("--cut",r.value+"%"))`;
