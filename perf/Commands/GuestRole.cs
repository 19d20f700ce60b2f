using System.Collections.Generic;
using System.Globalization;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>What a replay is besides a replay: a guest of a host, at another time of the curve.</summary>
/// <param name="Host">Path of the host's socket; null: no host.</param>
/// <param name="Shift">Share of the curve that it begins at.</param>
/// <param name="CapMebibytes">Its cap; null: the default.</param>
internal sealed record GuestRole(string? Host = null, double Shift = 0, int? CapMebibytes = null)
{
    public static GuestRole Read(Arguments arguments)
    {
        string? host = arguments.Text("host");
        double shift = arguments.Number("shift", 0, 0, 1);
        int cap = arguments.Integer("cap-mib", -1, 4, 1 << 24);
        return new GuestRole(host, shift, cap < 0 ? null : cap);
    }

    /// <summary>For the child's command line.</summary>
    public string[] ToArguments()
    {
        List<string> arguments = ["--shift", Shift.ToString("F6", CultureInfo.InvariantCulture)];
        if (Host is not null)
        {
            arguments.AddRange(["--host", Host]);
        }

        if (CapMebibytes is int cap)
        {
            arguments.AddRange(["--cap-mib", cap.ToString(CultureInfo.InvariantCulture)]);
        }

        return [.. arguments];
    }

    public PageArenaOptions Apply(PageArenaOptions options)
    {
        options.Host = Host is null ? null : "unix:" + Host;
        options.CapBytes = CapMebibytes is int cap ? (nuint)cap << 20 : options.CapBytes;
        return options;
    }

    public DemandCurve Apply(DemandCurve curve) => curve.Shifted(Shift);
}
