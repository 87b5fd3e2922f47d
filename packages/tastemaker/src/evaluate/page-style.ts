/** What the evaluation's page adds to the style of the reports. */
export const evaluationStyle: string = `
main{max-width:1320px}
.arrow{color:var(--soft);font-weight:400}
table.comparison th[scope=rowgroup]{white-space:normal;min-width:15em;text-align:left}
table.comparison tbody+tbody tr:first-child>*{border-top:1px solid var(--line)}
table.comparison tbody tr+tr td{border-top:1px dashed var(--line)}
table.comparison td,table.comparison th{padding:10px 12px}
td.name,th.name{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:7em}
td.bar-cell{text-align:left}td.bar-cell small{display:block;margin-top:1px}
td.soft{color:var(--soft)}
svg.interval{display:block;overflow:visible}
svg.interval .track{stroke:var(--line)}svg.interval .zero{stroke:var(--soft);stroke-opacity:.6}
svg.interval .reach{stroke-width:6;stroke-linecap:round;stroke-opacity:.45}
svg.good .reach{stroke:var(--good)}svg.good circle{fill:var(--good)}svg.bad .reach{stroke:var(--bad)}svg.bad circle{fill:var(--bad)}svg.soft .reach{stroke:var(--soft)}svg.soft circle{fill:var(--soft)}
.controls{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;margin:12px 0 14px;font-size:.9rem}
.controls .grow{flex:1 1 12em}.controls select,.controls input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:6px 10px}
.controls input{width:100%}.controls select:disabled{opacity:.5}.controls [hidden]{display:none}
#rows{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,calc(var(--columns)*176px)),1fr));gap:18px}
.row{background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden;content-visibility:auto;contain-intrinsic-size:auto 300px;break-inside:avoid}
.strip{display:grid;grid-template-columns:repeat(var(--columns),minmax(0,1fr));gap:2px;background:var(--line)}
.prompt{margin:0;padding:9px 14px 12px;font-size:.92rem;line-height:1.4;overflow-wrap:anywhere}.prompt small{display:block;margin-top:2px}
dialog .prompt{padding:0;margin-bottom:14px;font-size:1.05rem}
button.picture{position:relative;display:block;width:100%;padding:0;border:0;background:var(--card);color:inherit;font:inherit;text-align:left;cursor:zoom-in}
button.picture .label{position:absolute;top:8px;left:8px;max-width:calc(100% - 16px);font-size:.7rem;font-weight:600;line-height:1.15;padding:4px 8px;border-radius:10px;background:rgb(0 0 0/.55);color:#fff;overflow-wrap:anywhere}
button.picture:focus-visible{outline:2px solid var(--c2);outline-offset:-2px}
button.picture img,.missing{display:block;width:100%;aspect-ratio:1;object-fit:cover;background:var(--line)}
button.picture small{display:block;padding:6px 10px 7px;font-variant-numeric:tabular-nums}
img.small{image-rendering:pixelated}
.missing{display:grid;place-items:center;color:var(--soft);font-size:.8rem}
dialog{border:1px solid var(--line);border-radius:16px;background:var(--card);color:var(--text);padding:20px 24px;width:min(96vw,calc(var(--columns)*400px + 48px));max-width:none;max-height:94vh;overflow:auto}
dialog::backdrop{background:rgb(0 0 0/.6)}
dialog form{float:right}dialog form button{border:0;background:none;color:var(--soft);font-size:1.6rem;line-height:1;cursor:pointer}
.large-row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,250px),1fr));gap:20px}.large-row figure{margin:0;min-width:0}
.large-row figcaption{font-weight:600;margin-bottom:6px;overflow-wrap:anywhere}.large-row img{display:block;width:100%;border-radius:10px}
.large-row table{margin-top:10px;font-size:.85rem}.large-row td{padding:3px 8px 3px 0;border:0;text-align:right}.large-row td:first-child{color:var(--soft);text-align:left;white-space:normal}
.columns{grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))}.columns table{table-layout:fixed}.columns td{text-align:left}.columns td:first-child{white-space:normal;width:32%}
@media print{.controls,dialog{display:none}}
`.trim();
