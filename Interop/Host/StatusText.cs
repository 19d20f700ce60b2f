using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;

namespace LowLevel.Interop.Host;

/// <summary>A status as plain text: a table, or only what has changed.</summary>
internal sealed class StatusText
{
    private const int EndedShown = 5;

    private readonly Dictionary<int, GuestStatus> _known = [];
    private int _lastEnded;
    private bool _wasOver;
    private bool _wasUnderPressure;

    /// <summary>The rule's name on the command line.</summary>
    public static string Name(BudgetRule rule) => rule == BudgetRule.Equal ? "equal" : "fair";

    /// <summary>The kind's name.</summary>
    public static string Name(GuestKind kind) => kind == GuestKind.Own ? "own" : "memfd";

    /// <summary>The state's name.</summary>
    public static string Name(GuestState state) => state switch
    {
        GuestState.Greeting => "greeting",
        GuestState.Running => "running",
        _ => "ended",
    };

    /// <summary>A table of all guests.</summary>
    public static string Table(HostStatus status)
    {
        StringBuilder text = new();
        text.AppendLine(CultureInfo.InvariantCulture, $"budget {ByteSize.Format(status.EffectiveBytes)} of {ByteSize.Format(status.BudgetBytes)}, {Name(status.Rule)}, " +
            $"resident {ByteSize.Format(status.ResidentBytes)}, guests {status.Guests.Count}{(status.IsOver ? ", OVER BUDGET" : "")}");
        text.AppendLine("   id     pid kind  state         total    resident        used     allowed      target      actual     dropped");
        foreach (GuestStatus guest in status.Guests)
        {
            text.AppendLine(CultureInfo.InvariantCulture,
                $"{guest.Id,5} {guest.ProcessId,7} {Name(guest.Kind),-5} {Name(guest.State),-8} {ByteSize.Format(guest.TotalBytes),10}  " +
                $"{ByteSize.Format(guest.ResidentBytes),10}  {ByteSize.Format(guest.UsedBytes),10}  {ByteSize.Format(guest.AllowanceBytes),10}  " +
                $"{Pages(guest.TargetPages),10}  {Pages(guest.ActualPages),10}  {Pages((ulong)guest.DroppedPages),10}");
        }

        foreach (EndedGuest guest in status.Ended.TakeLast(EndedShown))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{guest.Id,5} {guest.ProcessId,7} {Farewell(guest)}");
        }

        return text.ToString();
    }

    /// <summary>A line for each thing that is not as it was the last time.</summary>
    public IEnumerable<string> Changes(HostStatus status)
    {
        List<string> lines = [];
        foreach (EndedGuest guest in status.Ended.Where(guest => guest.Id > _lastEnded || _known.ContainsKey(guest.Id)))
        {
            _known.Remove(guest.Id);
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"guest {guest.Id} (process {guest.ProcessId}) {Farewell(guest)}"));
        }

        _lastEnded = status.Ended.Select(static guest => guest.Id).Append(_lastEnded).Max();
        foreach (GuestStatus guest in status.Guests)
        {
            if (!_known.TryGetValue(guest.Id, out GuestStatus? before) || IsAnother(before, guest))
            {
                _known[guest.Id] = guest;
                lines.Add(string.Create(CultureInfo.InvariantCulture,
                    $"guest {guest.Id} (process {guest.ProcessId}) {Name(guest.State)}, {Name(guest.Kind)}: total {ByteSize.Format(guest.TotalBytes)}, " +
                    $"resident {ByteSize.Format(guest.ResidentBytes)}, used {ByteSize.Format(guest.UsedBytes)}, target {Pages(guest.TargetPages)}, " +
                    $"actual {Pages(guest.ActualPages)}"));
            }
        }

        Note(lines, ref _wasOver, status.IsOver, "the guests use more than the budget", "the guests are within the budget again");
        Note(lines, ref _wasUnderPressure, status.EffectiveBytes < status.BudgetBytes, "memory is short: the budget is tightened", "the whole budget is in force again");
        return lines;
    }

    private static void Note(List<string> lines, ref bool was, bool isSo, string begins, string ends)
    {
        if (was != isSo)
        {
            was = isSo;
            lines.Add(isSo ? begins : ends);
        }
    }

    private static bool IsAnother(GuestStatus before, GuestStatus now) =>
        before.State != now.State || before.TargetPages != now.TargetPages || before.ActualPages != now.ActualPages || before.TotalBytes != now.TotalBytes;

    private static string Farewell(EndedGuest guest) => (guest.WasCutOff ? "cut off: " : "gone: ") + guest.Reason;

    private static string Pages(ulong pages) => ByteSize.Format(pages << TargetSteps.PageShift);
}
