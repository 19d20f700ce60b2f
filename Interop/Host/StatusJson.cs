using System.Buffers;
using System.Collections.Generic;
using System.Text.Json;

namespace LowLevel.Interop.Host;

/// <summary>A status as JSON: one object, bytes and pages as in <see cref="HostStatus"/> and <see cref="GuestStatus"/>.</summary>
internal static class StatusJson
{
    /// <summary>One line without its end, UTF-8.</summary>
    public static byte[] Write(HostStatus status)
    {
        ArrayBufferWriter<byte> bytes = new();
        using (Utf8JsonWriter json = new(bytes))
        {
            json.WriteStartObject();
            json.WriteNumber("round", status.Round);
            json.WriteNumber("budget_bytes", status.BudgetBytes);
            json.WriteNumber("effective_bytes", status.EffectiveBytes);
            json.WriteString("policy", StatusText.Name(status.Rule));
            json.WriteBoolean("over_budget", status.IsOver);
            json.WriteNumber("resident_bytes", status.ResidentBytes);
            json.WriteStartArray("guests");
            foreach (GuestStatus guest in status.Guests)
            {
                WriteGuest(json, guest);
            }

            json.WriteEndArray();
            WriteEnded(json, status.Ended);
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    private static void WriteGuest(Utf8JsonWriter json, GuestStatus guest)
    {
        json.WriteStartObject();
        json.WriteNumber("id", guest.Id);
        json.WriteNumber("pid", guest.ProcessId);
        json.WriteString("kind", StatusText.Name(guest.Kind));
        json.WriteString("state", StatusText.Name(guest.State));
        json.WriteNumber("total_bytes", guest.TotalBytes);
        json.WriteNumber("shared_bytes", guest.SharedBytes);
        json.WriteNumber("resident_bytes", guest.ResidentBytes);
        json.WriteNumber("used_bytes", guest.UsedBytes);
        json.WriteNumber("allowance_bytes", guest.AllowanceBytes);
        json.WriteNumber("target_pages", guest.TargetPages);
        json.WriteNumber("actual_pages", guest.ActualPages);
        json.WriteBoolean("fixed", guest.IsFixed);
        json.WriteNumber("reports", guest.Reports);
        json.WriteNumber("reported_pages", guest.ReportedPages);
        json.WriteNumber("dropped_pages", guest.DroppedPages);
        json.WriteNumber("inflated_pages", guest.InflatedPages);
        json.WriteNumber("deflated_pages", guest.DeflatedPages);
        json.WriteNumber("failed_discards", guest.FailedDiscards);
        json.WriteStartObject("statistics");
        foreach ((Native.BalloonStatTag tag, ulong value) in guest.Statistics)
        {
            json.WriteNumber(tag.ToString(), value);
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteEnded(Utf8JsonWriter json, IReadOnlyList<EndedGuest> ended)
    {
        json.WriteStartArray("ended");
        foreach (EndedGuest guest in ended)
        {
            json.WriteStartObject();
            json.WriteNumber("id", guest.Id);
            json.WriteNumber("pid", guest.ProcessId);
            json.WriteString("reason", guest.Reason);
            json.WriteBoolean("cut_off", guest.WasCutOff);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
