interface Cluster {
  readonly members: readonly number[];
  readonly centre: number;
}

/**
 * Moves labels apart as little as possible (least squares, order kept): centres that are at least `gap` apart and inside [low, high] where there is room.
 * @param wanted Centres in any order.
 */
export function spreadLabels(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a]! - wanted[b]! || a - b);
  const fit = ({ members }: Pick<Cluster, "members">): Cluster => {
    // A run of k labels, gap apart: the best centre is the mean of what each would have chosen for the run.
    const mean = members.reduce((sum, member) => sum + wanted[member]!, 0) / members.length;
    const half = ((members.length - 1) * gap) / 2;
    return { members, centre: Math.max(low + half, Math.min(high - half, mean)) };
  };
  const clusters: Cluster[] = [];
  for (const index of order) {
    let next = fit({ members: [index] });
    for (let before = clusters.at(-1); before !== undefined; before = clusters.at(-1)) {
      const needed = ((before.members.length + next.members.length) / 2) * gap;
      if (next.centre - before.centre >= needed - 1e-9) break;
      clusters.pop();
      next = fit({ members: [...before.members, ...next.members] });
    }
    clusters.push(next);
  }
  const result: number[] = wanted.slice();
  for (const { members, centre } of clusters) members.forEach((member, place) => (result[member] = centre + (place - (members.length - 1) / 2) * gap));
  return result;
}
