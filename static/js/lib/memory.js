/** Read and write small things in a storage that may be forbidden. */

/** @param {Storage} store @param {string} key @returns {string | null} */
export function remembered(store, key) {
  try {
    return store.getItem(key);
  } catch {
    return null;
  }
}

/** @param {Storage} store @param {string} key @param {string} value */
export function remember(store, key, value) {
  try {
    store.setItem(key, value);
  } catch {
    // Then it holds for this page only.
  }
}
