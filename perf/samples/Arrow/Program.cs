using System;
using System.IO;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using LowLevel.Allocator;

namespace LowLevel.Samples.Arrow;

/// <summary>A table in arena memory, written as Arrow's stream format and read back into arena memory.</summary>
public static class Program
{
    /// <summary>Prints what the arena held at each point, in bytes.</summary>
    /// <returns>0: the table came back as it was, and the arena has everything back.</returns>
    public static int Main()
    {
        using PageArena arena = PageArena.Create();
        using var pool = new ArenaMemoryPool(arena);
        return RoundTrip(arena, new ArenaArrowAllocator(pool), rows: 1_000_000, Console.Out) ? 0 : 1;
    }

    /// <summary>Builds, writes, reads, compares and disposes; true if all is as it should be.</summary>
    public static bool RoundTrip(PageArena arena, ArenaArrowAllocator allocator, int rows, TextWriter log)
    {
        ArgumentNullException.ThrowIfNull(arena);
        ArgumentNullException.ThrowIfNull(log);
        long before = arena.GetStatistics().AllocatedBytes;
        bool same;
        using (var file = new MemoryStream())
        {
            using RecordBatch table = Build(allocator, rows);
            log.WriteLine($"built:  {arena.GetStatistics().AllocatedBytes - before} bytes in the arena, {table.Length} rows");
            using (var writer = new ArrowStreamWriter(file, table.Schema, leaveOpen: true))
            {
                writer.WriteRecordBatch(table);
                writer.WriteEnd();
            }

            file.Position = 0;
            using var reader = new ArrowStreamReader(file, allocator, leaveOpen: true);
            using RecordBatch read = reader.ReadNextRecordBatch();
            log.WriteLine($"read:   {arena.GetStatistics().AllocatedBytes - before} bytes in the arena, {file.Length} bytes of stream");
            same = Same(table, read);
        }

        long left = arena.GetStatistics().AllocatedBytes - before;
        log.WriteLine($"closed: {left} bytes in the arena");
        return same && left == 0;
    }

    /// <summary>Numbers, some of them missing, and texts of several lengths.</summary>
    public static RecordBatch Build(ArenaArrowAllocator allocator, int rows)
    {
        Int64Array.Builder numbers = new Int64Array.Builder().Reserve(rows);
        StringArray.Builder texts = new StringArray.Builder().Reserve(rows);
        for (int row = 0; row < rows; row++)
        {
            _ = row % 7 == 0 ? numbers.AppendNull() : numbers.Append(row * 3L);
            texts.Append(new string((char)('a' + (row % 26)), row % 11));
        }

        return new RecordBatch.Builder(allocator)
            .Append("number", true, numbers.Build(allocator))
            .Append("text", false, texts.Build(allocator))
            .Build();
    }

    private static bool Same(RecordBatch one, RecordBatch other)
    {
        var (numbers, texts) = ((Int64Array)one.Column("number"), (StringArray)one.Column("text"));
        var (numbersRead, textsRead) = ((Int64Array)other.Column("number"), (StringArray)other.Column("text"));
        bool same = one.Length == other.Length && numbers.NullCount == numbersRead.NullCount && numbers.Data.DataType is Int64Type;
        for (int row = 0; same && row < one.Length; row++)
        {
            same = numbers.GetValue(row) == numbersRead.GetValue(row) && texts.GetString(row) == textsRead.GetString(row);
        }

        return same;
    }
}
