import manifest from '../package.json' with { type: 'json' }

/** Of this program, semantic. */
export const version: string = manifest.version
