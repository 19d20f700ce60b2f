using System;
using System.IO;
using System.Text;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class JsonReportTests
{
    [Fact]
    public void Rows_are_flat_and_keep_their_order_and_kinds()
    {
        var report = new JsonReport("replay", null);
        report.Row(("treatment", true), ("footprint", 1.25), ("charge", null), ("bytes", 1L << 40), ("threads", 2), ("mode", "off"));
        report.Row(("footprint", double.NaN));
        using JsonDocument document = JsonDocument.Parse(report.Encode());
        Assert.Equal("replay", document.RootElement.GetProperty("command").GetString());
        JsonElement row = document.RootElement.GetProperty("rows")[0];
        Assert.True(row.GetProperty("treatment").GetBoolean());
        Assert.Equal(1.25, row.GetProperty("footprint").GetDouble());
        Assert.Equal(JsonValueKind.Null, row.GetProperty("charge").ValueKind);
        Assert.Equal(1L << 40, row.GetProperty("bytes").GetInt64());
        Assert.Equal(JsonValueKind.Null, document.RootElement.GetProperty("rows")[1].GetProperty("footprint").ValueKind);
    }

    [Fact]
    public void The_machine_is_told_without_its_name_or_any_path()
    {
        string text = Encoding.UTF8.GetString(new JsonReport("x", null).Encode());
        using JsonDocument document = JsonDocument.Parse(text);
        JsonElement machine = document.RootElement.GetProperty("machine");
        Assert.Equal(Environment.ProcessorCount, machine.GetProperty("cores").GetInt32());
        Assert.DoesNotContain(Environment.MachineName, machine.GetRawText(), StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("/", machine.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_value_of_no_known_kind_is_refused() =>
        Assert.Throws<ArgumentException>(() =>
        {
            var report = new JsonReport("x", null);
            report.Row(("when", DateTime.UnixEpoch));
            report.Encode();
        });

    [Fact]
    public void A_file_is_replaced_whole_and_nothing_is_left_beside_it()
    {
        string folder = Directory.CreateTempSubdirectory("lowlevel-").FullName;
        try
        {
            string path = Path.Combine(folder, "rows.json");
            OutputFiles.Write(path, new string('x', 1000));
            OutputFiles.Write(path, "short");
            Assert.Equal("short", File.ReadAllText(path));
            Assert.Equal([path], Directory.GetFiles(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
