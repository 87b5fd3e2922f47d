import { UsageError } from "@tastemaker/tensor";
import { type AsyncBuffer, asyncBufferFromFile, type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";

/** Decoded at once, about; a table of pictures can be larger than the memory. */
const partBytes = 128 * 2 ** 20;

/** A parquet file, read in parts. */
export interface ParquetTable {
  readonly count: number;
  /** Names of its columns. */
  readonly names: readonly string[];
  /** Rows from `first` (counted from 0) on, with the named columns; an empty list means all. Texts may come as bytes. */
  read(first: number, columns: readonly string[]): AsyncIterable<Readonly<Record<string, unknown>>>;
}

/** @throws UsageError `parquet-damaged`, also while reading */
export async function openParquetTable(path: string): Promise<ParquetTable> {
  const damaged = (error: unknown): UsageError => new UsageError("parquet-damaged", `table: expected a readable parquet file, got: ${error instanceof Error ? error.message : String(error)} (at ${path})`, "fetch or write it again");
  let file: AsyncBuffer;
  let metadata: FileMetaData;
  let names: string[];
  try {
    file = await asyncBufferFromFile(path);
    metadata = await parquetMetadataAsync(file);
    names = parquetSchema(metadata).children.map(({ element }) => element.name);
  } catch (error) {
    throw damaged(error);
  }
  return {
    count: Number(metadata.num_rows),
    names,
    read: async function* (first, columns) {
      let start = 0;
      for (const group of metadata.row_groups) {
        const end = start + Number(group.num_rows);
        const step = Math.max(1, Math.floor((Number(group.num_rows) * partBytes) / Math.max(partBytes, Number(group.total_byte_size))));
        for (let at = Math.max(start, first); at < end; at += step) {
          const options = { file, metadata, compressors, rowStart: at, rowEnd: Math.min(end, at + step), utf8: false, ...(columns.length === 0 ? {} : { columns: [...columns] }) };
          const rows = (await parquetReadObjects(options).catch((error: unknown) => {
            throw damaged(error);
          })) as Readonly<Record<string, unknown>>[];
          yield* rows;
        }
        start = end;
      }
    },
  };
}
