/** Numbers and amounts as Kizu writes them. */

const COUNT = new Intl.NumberFormat("en-US");

/** "2,624 images" @param {number} n @param {string} one @param {string} [many] */
export const count = (n, one, many = `${one}s`) => `${COUNT.format(n)} ${n === 1 ? one : many}`;

/** "4.2 MB" @param {number} n */
export function bytes(n) {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${Math.round(n / 1e3)} kB`;
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(1)} GB`;
}

/** "3 min 20 s" @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(Math.round(seconds), 0);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
