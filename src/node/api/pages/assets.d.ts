/** Imported with `{ type: 'text' }`. */
declare module '*.css' {
  const text: string
  export = text
}
